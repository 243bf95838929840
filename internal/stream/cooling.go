package stream

// coolingCost is what the memory budget counts for an entry that cools down,
// beside the entry itself: its place in the queue, which doubles as it grows.
const coolingCost = 32

// cooling holds the entries that may not be sent again yet, those answered
// first in front. Braze's attributes API applies a request some time after it
// has answered, and may apply two of one user in the wrong order; so an
// identifier rests for the target's reorder guard after every answer, whatever
// it was.
type cooling struct {
	// guard is how long an entry rests, in nanoseconds; 0 for not at all.
	guard int64
	queue []cooled
	// first is where the queue begins: what stands before it has left.
	first int
}

type cooled struct {
	entry *entry
	until int64
}

func (q *cooling) length() int { return len(q.queue) - q.first }

func (q *cooling) push(e *entry, now int64) {
	if q.first > len(q.queue)/2 {
		n := copy(q.queue, q.queue[q.first:])
		clear(q.queue[n:])
		q.queue, q.first = q.queue[:n], 0
	}
	e.cooling = true
	q.queue = append(q.queue, cooled{e, now + q.guard})
}

// pop returns the next entry that has rested for long enough, or nil.
func (q *cooling) pop(now int64) *entry {
	if q.length() == 0 || q.queue[q.first].until > now {
		return nil
	}
	e := q.queue[q.first].entry
	q.queue[q.first] = cooled{}
	q.first++
	e.cooling = false
	return e
}

// next returns when the first entry will have rested for long enough, or 0.
func (q *cooling) next() int64 {
	if q.length() == 0 {
		return 0
	}
	return q.queue[q.first].until
}

// answered says what comes next for an entry whose request has been answered.
// The caller holds the mutex.
func (g *generation) answered(e *entry, now int64) {
	if g.cooling.guard > 0 {
		g.cooling.push(e, now)
		g.memory.used += coolingCost
		return
	}
	g.rested(e)
}

// rested puts an entry that may be sent again where it belongs: its change, if
// one waits, into the queue, else into the late memory.
func (g *generation) rested(e *entry) {
	if !e.waiting() {
		g.remember(e)
		return
	}
	queue := &e.cohort.queue
	if queue.front != nil && queue.front.arrived < e.arrived {
		queue.pushBack(e)
	} else {
		queue.pushFront(e)
	}
}

// thaw ends the rest of the entries whose time has come.
func (g *generation) thaw(now int64) {
	freed := false
	for e := g.cooling.pop(now); e != nil; e = g.cooling.pop(now) {
		g.memory.used -= coolingCost
		freed = true
		g.rested(e)
		if e.waiting() {
			g.schedule.update(e.cohort, now)
		}
	}
	if freed {
		g.memory.announce()
	}
}

// next returns the cohort whose turn it is, or nil and when to look again: 0
// for not before something changes.
func (g *generation) next(now int64) (c *cohort, at int64) {
	c, at = g.schedule.next(now)
	if rest := g.cooling.next(); c == nil && rest != 0 && (at == 0 || rest < at) {
		at = rest
	}
	return c, at
}
