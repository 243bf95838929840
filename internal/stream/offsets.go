package stream

// tracker knows the first unsettled offset of one partition in one generation.
// It dies with the generation: a cleared tracker could still be reached by a
// late answer and commit what another worker owns by then.
//
// Offsets are never counted: compaction and transactions leave gaps, so the
// only arithmetic is Kafka's own "the offset after the last one read".
type tracker struct {
	head, tail *mark
	// next is the offset to read on from once everything is settled.
	next int64
	// length is the number of marks from head to tail, for the memory budget.
	length int
}

// mark is one record with unsettled changes.
type mark struct {
	offset int64
	// stamp is the record's Kafka timestamp in milliseconds.
	stamp int64
	// open counts what is not settled: each change, and the reader's own hold
	// while it is still adding changes.
	open int
	next *mark
}

// track adds the next record with one hold on it. Records come in the order of
// the log.
func (t *tracker) track(offset, stamp int64) *mark {
	m := &mark{offset: offset, stamp: stamp, open: 1}
	if t.tail == nil {
		t.head = m
	} else {
		t.tail.next = m
	}
	t.tail = m
	t.length++
	t.next = offset + 1
	return m
}

// advance moves the position over what held no records: control markers and
// gaps. It never moves back.
func (t *tracker) advance(next int64) { t.next = max(t.next, next) }

// settle takes one hold off a record and returns how many marks that freed.
// Each mark is freed once, so the cost is constant over the life of a record.
func (t *tracker) settle(m *mark) (freed int) {
	m.open--
	for t.head != nil && t.head.open == 0 {
		t.head = t.head.next
		freed++
	}
	if t.head == nil {
		t.tail = nil
	}
	t.length -= freed
	return freed
}

// first returns the first unsettled offset: what the group may commit.
func (t *tracker) first() int64 {
	if t.head != nil {
		return t.head.offset
	}
	return t.next
}

// oldest returns the Kafka timestamp of the oldest unsettled record in
// milliseconds; ok is false when everything is settled.
func (t *tracker) oldest() (stamp int64, ok bool) {
	if t.head == nil {
		return 0, false
	}
	return t.head.stamp, true
}
