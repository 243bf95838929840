package stream

// restCost is what the memory budget counts for a moment at which entries were
// answered: its place in the queue, which doubles as it grows.
const restCost = 64

// cooling holds the entries that may not be sent again yet, those answered
// first in front. Braze's attributes API applies a request some time after it
// has answered, and may apply two of one user in the wrong order; so an
// identifier rests for the target's reorder guard after every answer, whatever
// it was.
type cooling struct {
	// guard is how long an entry rests, in nanoseconds; 0 for not at all.
	guard int64
	// queue has a rest for each moment, not for each entry: those of one request
	// are answered together, and an entry that rests is in no other list.
	queue []rest
	// first is where the queue begins: what stands before it has left.
	first int
	// length counts the entries.
	length int
}

// rest is what the entries answered at one moment have before them.
type rest struct {
	until   int64
	entries list
}

func (q *cooling) moments() int { return len(q.queue) - q.first }

func (q *cooling) push(s *store, r ref, now int64) {
	if q.moments() == 0 || q.queue[len(q.queue)-1].until != now+q.guard {
		if q.first > len(q.queue)/2 {
			q.queue, q.first = q.queue[:copy(q.queue, q.queue[q.first:])], 0
		}
		q.queue = append(q.queue, rest{until: now + q.guard})
	}
	s.pushBack(&q.queue[len(q.queue)-1].entries, r)
	q.length++
}

// pop returns the next entry that has rested for long enough, or 0.
func (q *cooling) pop(s *store, now int64) ref {
	if q.moments() == 0 || q.queue[q.first].until > now {
		return 0
	}
	entries := &q.queue[q.first].entries
	r := entries.front
	s.unlink(entries, r)
	q.length--
	if entries.length == 0 {
		q.first++
	}
	return r
}

// next returns when the first entry will have rested for long enough, or 0.
func (q *cooling) next() int64 {
	if q.moments() == 0 {
		return 0
	}
	return q.queue[q.first].until
}

// answered says what comes next for an entry whose request has been answered.
// The caller holds the mutex.
func (g *generation) answered(r ref, now int64) {
	if g.cooling.guard > 0 {
		e := g.store.at(r)
		e.cooling = true
		g.store.cohortOf(e).feed.resting++
		before := g.cooling.moments()
		g.cooling.push(g.store, r, now)
		g.memory.used += int64(g.cooling.moments()-before) * restCost
		return
	}
	g.rested(r)
}

// rested puts an entry that may be sent again where it belongs: its change, if
// one waits, into the queue, else into the late memory.
func (g *generation) rested(r ref) {
	e := g.store.at(r)
	if !e.waiting {
		g.remember(r)
		return
	}
	queue := &g.store.cohortOf(e).queue
	if queue.front != 0 && g.store.at(queue.front).arrived < e.arrived {
		g.store.pushBack(queue, r)
	} else {
		g.store.pushFront(queue, r)
	}
}

// thaw ends the rest of the entries whose time has come.
func (g *generation) thaw(now int64) {
	before := g.cooling.moments()
	freed := false
	for r := g.cooling.pop(g.store, now); r != 0; r = g.cooling.pop(g.store, now) {
		freed = true
		e := g.store.at(r)
		e.cooling = false
		c, waiting := g.store.cohortOf(e), e.waiting
		c.feed.resting--
		g.rested(r)
		if waiting {
			g.schedule.update(c, now)
		}
	}
	if freed {
		g.memory.used -= int64(before-g.cooling.moments()) * restCost
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
