package stream

import "container/heap"

// schedule orders the cohorts of one generation: those that may send now by
// their deadline, the others by when they may. Every step costs the logarithm
// of the number of cohorts, and an idle worker looks at none.
type schedule struct {
	maxBatch int
	// ready is ordered by deadline, later by the time a cohort may send.
	ready, later queue
}

// slot is a cohort's place in the schedule.
type slot struct {
	in           *queue
	index        int
	at, deadline int64
}

func newSchedule(maxBatch int) *schedule {
	return &schedule{
		maxBatch: maxBatch,
		ready:    queue{less: func(a, b *slot) bool { return a.deadline < b.deadline }},
		later:    queue{less: func(a, b *slot) bool { return a.at < b.at }},
	}
}

// update puts a cohort where it belongs after anything about it has changed.
func (s *schedule) update(c *cohort, now int64) {
	at, deadline, ok := c.due(s.maxBatch)
	var want *queue
	if ok {
		want = &s.later
		if at <= now {
			want = &s.ready
		}
	}
	if c.slot.in == want && c.slot.at == at && c.slot.deadline == deadline {
		return
	}
	c.slot.at, c.slot.deadline = at, deadline
	switch {
	case c.slot.in == want && want != nil:
		heap.Fix(want, c.slot.index)
	default:
		if c.slot.in != nil {
			heap.Remove(c.slot.in, c.slot.index)
		}
		if want != nil {
			heap.Push(want, c)
		}
	}
}

// next returns the cohort whose turn it is, or nil and when to look again: 0
// for not before something changes.
func (s *schedule) next(now int64) (c *cohort, at int64) {
	for len(s.later.cohorts) > 0 && s.later.cohorts[0].slot.at <= now {
		s.update(s.later.cohorts[0], now)
	}
	if len(s.ready.cohorts) > 0 {
		return s.ready.cohorts[0], now
	}
	if len(s.later.cohorts) > 0 {
		return nil, s.later.cohorts[0].slot.at
	}
	return nil, 0
}

// queue is a heap of cohorts that know their place in it.
type queue struct {
	less    func(a, b *slot) bool
	cohorts []*cohort
}

func (q *queue) Len() int { return len(q.cohorts) }

func (q *queue) Less(i, j int) bool { return q.less(&q.cohorts[i].slot, &q.cohorts[j].slot) }

func (q *queue) Swap(i, j int) {
	q.cohorts[i], q.cohorts[j] = q.cohorts[j], q.cohorts[i]
	q.cohorts[i].slot.index, q.cohorts[j].slot.index = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	c := x.(*cohort)
	c.slot.in, c.slot.index = q, len(q.cohorts)
	q.cohorts = append(q.cohorts, c)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := len(q.cohorts) - 1
	c := q.cohorts[last]
	q.cohorts[last] = nil
	q.cohorts = q.cohorts[:last]
	c.slot.in, c.slot.index = nil, 0
	return c
}
