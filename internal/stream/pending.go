package stream

// The bytes that the memory budget counts for each thing that the heart
// keeps, measured by TestTheBudgetCountsWhatTheHeapHolds.
const (
	entryCost  = 144
	markCost   = 32
	cohortCost = 576
)

// change is one change of one identifier, as the pending set keeps it.
type change struct {
	// time is the change's computed time in microseconds; with offset it is
	// what order is by.
	time   int64
	offset int64
	// stamp is the record's Kafka timestamp in milliseconds.
	stamp int64
	// mark is the record that settles with this change.
	mark *mark
	// in says that the user entered the cohort rather than left it.
	in bool
}

// before says that c is older than d. Two changes of one identifier in the
// same record are equal; the later one then wins, for it was read later.
func (c *change) before(d *change) bool {
	if c.time != d.time {
		return c.time < d.time
	}
	return c.offset < d.offset
}

// entry is all that a cohort knows of one identifier. It is in one of these
// states:
//
//   - waiting: its change is in the cohort's queue;
//   - flying: a request holds an earlier copy of its change;
//   - flying and waiting: a newer change came in meanwhile; it is not in the
//     queue until the request is answered;
//   - remembered: its newest change is settled, and kept so that an older one
//     which comes late is known as stale. It is then in the late memory;
//   - cooling, and waiting or remembered: it rests after an answer, and is in
//     neither the queue nor the late memory.
type entry struct {
	// change is the newest one known. Its mark is nil unless it is waiting.
	change
	cohort     *cohort
	key        string
	prev, next *entry
	// arrived is when the change began to wait or, for a remembered one, when
	// it was settled, by the target's clock.
	arrived int64
	flying  bool
	cooling bool
}

func (e *entry) waiting() bool { return e.mark != nil }

func (e *entry) remembered() bool { return !e.waiting() && !e.flying && e.arrived != 0 }

func (e *entry) cost() int64 { return entryCost + int64(len(e.key)) }

// entries is a doubly linked list through the entries themselves: an entry is
// in one list at most, and leaves it in constant time.
type entries struct {
	front, back *entry
	length      int
	// bytes is what the memory budget counts for them.
	bytes int64
}

func (l *entries) pushBack(e *entry) {
	e.prev, e.next = l.back, nil
	if l.back != nil {
		l.back.next = e
	} else {
		l.front = e
	}
	l.back = e
	l.length++
	l.bytes += e.cost()
}

func (l *entries) pushFront(e *entry) {
	e.prev, e.next = nil, l.front
	if l.front != nil {
		l.front.prev = e
	} else {
		l.back = e
	}
	l.front = e
	l.length++
	l.bytes += e.cost()
}

func (l *entries) remove(e *entry) {
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		l.front = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		l.back = e.prev
	}
	e.prev, e.next = nil, nil
	l.length--
	l.bytes -= e.cost()
}

// verdict is what became of a change that was put to the pending set.
type verdict uint8

const (
	// kept: it waits to be sent. The change it replaced, if any, is
	// superseded.
	kept verdict = iota
	// superseded: a newer change of the identifier is pending.
	superseded
	// stale: a newer change of the identifier has been settled.
	stale
)

// put adds a change that came now to its entry, which is new or one of the
// cohort's. It returns the mark of the change that was replaced, or nil. An
// entry that was remembered leaves the late memory when its change is kept.
// The caller settles what was replaced and what was not kept.
func (c *cohort) put(e *entry, ch change, now int64, late *entries) (v verdict, replaced *mark) {
	switch {
	case e.waiting() || e.flying:
		if ch.before(&e.change) {
			return superseded, nil
		}
	case e.remembered():
		if ch.before(&e.change) {
			return stale, nil
		}
		if !e.cooling {
			late.remove(e)
		}
	}
	replaced = e.mark
	e.change = ch
	if replaced != nil {
		// It keeps the place and the age of the change it replaced, so that a
		// user who changes all the time is sent all the same.
		return kept, replaced
	}
	e.arrived = now
	if !e.flying && !e.cooling {
		c.queue.pushBack(e)
	}
	return kept, nil
}

// flown is one change in a request: a copy, for the entry may get a newer one
// while the request is under way.
type flown struct {
	change
	entry   *entry
	arrived int64
}

// take moves up to most changes from the queue into a request, oldest first.
func (c *cohort) take(most int) []flown {
	n := min(most, c.queue.length)
	items := make([]flown, 0, n)
	for range n {
		e := c.queue.front
		c.queue.remove(e)
		items = append(items, flown{change: e.change, entry: e, arrived: e.arrived})
		e.flying = true
		e.mark = nil
	}
	return items
}

// land ends the flight of a settled item.
func (it *flown) land(now int64) {
	e := it.entry
	e.flying = false
	if !e.waiting() {
		e.arrived = now
	}
}

// unsend ends the flight of an item that is to be sent again. It returns true
// when a newer change waits, by which the item is superseded.
func (it *flown) unsend() (overtaken bool) {
	e := it.entry
	e.flying = false
	overtaken = e.waiting()
	if !overtaken {
		e.change = it.change
	}
	e.arrived = it.arrived
	return overtaken
}
