package stream

// tracker knows the first unsettled offset of one partition in one generation.
// It dies with the generation: a cleared tracker could still be reached by a
// late answer and commit what another worker owns by then.
//
// Offsets are never counted: compaction and transactions leave gaps, so the
// only arithmetic is Kafka's own "the offset after the last one read".
type tracker struct {
	// blocks hold the marks from the first unsettled record to the last one read;
	// skipped is where the first of them is in its block.
	blocks  []*[marksInBlock]mark
	skipped int
	// first is the number of the first mark, and length how many there are.
	first  markID
	length int
	// next is the offset to read on from once everything is settled.
	next int64
}

// marksInBlock is how many marks are made at once: a list that grows as a whole
// would hold up to three times what it needs.
const marksInBlock = 256

// markID numbers the marks of a tracker. It may wrap round: fewer are kept.
type markID uint32

// mark is one record with unsettled changes.
type mark struct {
	offset int64
	// stamp is the record's Kafka timestamp in milliseconds.
	stamp int64
	// open counts what is not settled: each change, and the reader's own hold
	// while it is still adding changes.
	open int
}

// track adds the next record with one hold on it. Records come in the order of
// the log.
func (t *tracker) track(offset, stamp int64) markID {
	if t.skipped+t.length == len(t.blocks)*marksInBlock {
		t.blocks = append(t.blocks, new([marksInBlock]mark))
	}
	id := t.first + markID(t.length)
	*t.at(id) = mark{offset: offset, stamp: stamp, open: 1}
	t.length++
	t.next = offset + 1
	return id
}

func (t *tracker) at(id markID) *mark {
	place := t.skipped + int(id-t.first)
	return &t.blocks[place/marksInBlock][place%marksInBlock]
}

// hold adds one hold on a record that is not settled.
func (t *tracker) hold(id markID) { t.at(id).open++ }

// advance moves the position over what held no records: control markers and
// gaps. It never moves back.
func (t *tracker) advance(next int64) { t.next = max(t.next, next) }

// settle takes one hold off a record and returns how many marks that freed.
// Each mark is freed once, so the cost is constant over the life of a record.
func (t *tracker) settle(id markID) (freed int) {
	t.at(id).open--
	for t.length > 0 && t.at(t.first).open == 0 {
		t.first++
		t.length--
		t.skipped++
		freed++
	}
	for t.skipped >= marksInBlock {
		if t.length == 0 { // The last block is used again.
			t.blocks, t.skipped = t.blocks[len(t.blocks)-1:], 0
			break
		}
		t.blocks[0] = nil
		t.blocks, t.skipped = t.blocks[1:], t.skipped-marksInBlock
	}
	return freed
}

// unsettled returns the first unsettled offset: what the group may commit.
func (t *tracker) unsettled() int64 {
	if t.length > 0 {
		return t.at(t.first).offset
	}
	return t.next
}

// oldest returns the Kafka timestamp of the oldest unsettled record in
// milliseconds; ok is false when everything is settled.
func (t *tracker) oldest() (stamp int64, ok bool) {
	if t.length == 0 {
		return 0, false
	}
	return t.at(t.first).stamp, true
}

// move sets the position after the log turned out not to have it. A topic made
// anew begins below: what is unsettled of the old one holds the commit there.
func (t *tracker) move(to int64) {
	t.next = to
	for i := range t.length {
		m := t.at(t.first + markID(i))
		m.offset = min(m.offset, to)
	}
}
