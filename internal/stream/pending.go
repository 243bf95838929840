package stream

import "slices"

// The bytes that the memory budget counts for each thing that the heart
// keeps, measured by TestTheBudgetCountsWhatTheHeapHolds.
const (
	entryCost  = 80
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
	mark markID
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
//
// It holds no pointers, see store.
type entry struct {
	// change is the newest one known. Its mark holds only while it waits.
	change
	waiting, flying, cooling bool
	// length and place are the key's, in the store's arena.
	length uint16
	place  uint32
	cohort uint32
	// prev and next are its neighbours in the list that it is in.
	prev, next ref
	// arrived is when the change began to wait or, for a remembered one, when
	// it was settled, by the target's clock.
	arrived int64
}

func (e *entry) remembered() bool { return !e.waiting && !e.flying && e.arrived != 0 }

func (e *entry) cost() int64 { return entryCost + int64(e.length) }

// verdict is what became of a change that was put to the pending set.
type verdict uint8

const (
	// kept: it waits to be sent.
	kept verdict = iota
	// replacing: it waits in the place of one that is superseded.
	replacing
	// superseded: a newer change of the identifier is pending.
	superseded
	// stale: a newer change of the identifier has been settled.
	stale
)

// put adds a change that came now to its entry, which is new or one of the
// cohort's. It returns the mark of the change that was replaced, if one was. An
// entry that was remembered leaves the late memory when its change is kept.
// The caller settles what was replaced and what was not kept.
func (c *cohort) put(r ref, ch *change, now int64, late *list) (v verdict, replaced markID) {
	e := c.store.at(r)
	switch {
	case e.waiting || e.flying:
		if ch.before(&e.change) {
			return superseded, 0
		}
	case e.remembered():
		if ch.before(&e.change) {
			return stale, 0
		}
		if !e.cooling {
			c.store.unlink(late, r)
		}
	}
	if e.waiting {
		// It keeps the place and the age of the change it replaces, so that a
		// user who changes all the time is sent all the same.
		replaced = e.mark
		e.change = *ch
		return replacing, replaced
	}
	e.change = *ch
	e.waiting = true
	e.arrived = now
	if !e.flying && !e.cooling {
		c.store.pushBack(&c.queue, r)
	}
	return kept, 0
}

// flown is one change in a request: a copy, for the entry may get a newer one
// while the request is under way.
type flown struct {
	change
	entry ref
	// keyEnd is where its key ends in the flight's text.
	keyEnd  uint32
	arrived int64
}

// take moves up to most changes from the queue into a request, oldest first,
// with the keys of their identifiers: the arena may move those meanwhile.
func (c *cohort) take(most int, f *flight) {
	n := min(most, c.queue.length)
	f.items, f.scratch = slices.Grow(f.items[:0], n), f.scratch[:0]
	for range n {
		r := c.queue.front
		e := c.store.at(r)
		c.store.unlink(&c.queue, r)
		e.flying, e.waiting = true, false
		f.scratch = append(f.scratch, c.store.key(e)...)
		f.items = append(f.items, flown{})
		it := &f.items[len(f.items)-1]
		it.change, it.entry, it.keyEnd, it.arrived = e.change, r, uint32(len(f.scratch)), e.arrived
	}
	f.text = string(f.scratch)
}

// land ends the flight of a settled item.
func (e *entry) land(now int64) {
	e.flying = false
	if !e.waiting {
		e.arrived = now
	}
}

// unsend ends the flight of an item that is to be sent again. It returns true
// when a newer change waits, by which the item is superseded.
func (e *entry) unsend(it *flown) (overtaken bool) {
	e.flying = false
	if overtaken = e.waiting; !overtaken {
		e.change, e.waiting = it.change, true
	}
	e.arrived = it.arrived
	return overtaken
}
