package brazetest

import (
	"container/heap"
	"strings"
	"time"

	"cohortsync/internal/catalog"
)

// accept carries out a request that is in order, or for the attributes API
// sees to it that it will be.
func (s *Server) accept(x *exchange) {
	x.Applied = true
	if x.Naming {
		c := s.cohort(x.Cohort)
		c.name, c.named, c.known = strings.Clone(x.Name), true, true
		return
	}
	s.counters.Accepted += x.Adds + x.Removes
	s.counters.Refused += x.Refused
	now := time.Now().UnixNano()
	late := x.Track && s.o.ApplyWithin > 0
	var all []due
	if late {
		all = make([]due, 0, len(x.Ops))
	}
	for i := range x.Ops {
		op := &x.Ops[i]
		if op.Error != "" {
			continue
		}
		d := due{x.places[i], op.Identifier, step{now, int64(x.Seq) << 1}}
		if op.Remove {
			d.step.packed |= 1
		}
		d.cohort.known, d.cohort.attribute = true, d.cohort.attribute || x.Track
		s.note(d.user, d.id)
		if s.knows(d.id) {
			d.user.accepted = !op.Remove
		}
		if !late {
			s.apply(&d)
			continue
		}
		d.user.holds++
		d.step.at += s.rng.Int64N(int64(s.o.ApplyWithin))
		all = append(all, d)
		heap.Push(&s.later, slot{d.step.at, &all[len(all)-1]})
	}
}

// apply makes one change.
func (s *Server) apply(d *due) {
	u := d.user
	if limit := s.o.OperationLimit; limit > 0 && len(u.applied) == limit {
		copy(u.applied, u.applied[1:])
		u.applied[limit-1] = d.step
	} else {
		u.applied = append(u.applied, d.step)
	}
	remove := d.step.removes()
	if !s.knows(d.id) || u.member != remove {
		return
	}
	u.member = !remove
	if u.member {
		d.cohort.members++
	} else {
		d.cohort.members--
	}
}

// knows says whether Braze has the user, whom else it ignores.
func (s *Server) knows(id catalog.Identifier) bool {
	if s.o.Known != nil && !s.o.Known(id) {
		return false
	}
	return id.Kind != catalog.DeviceID || s.o.Identified == nil || !s.o.Identified(id.Value)
}

// due is an operation that Braze has accepted, and the time for it.
type due struct {
	place
	id   catalog.Identifier
	step step
}

// later is a heap of what is due, the earliest first. It takes the place of a
// goroutine: nobody sees the difference between what was applied at its time
// and what is applied, with that time, by the first who looks.
//
// The times stand beside the pointers, for a heap compares far more often than
// it hands out.
type later []slot

type slot struct {
	at  int64
	due *due
}

func (l *later) Len() int           { return len(*l) }
func (l *later) Less(i, j int) bool { return (*l)[i].at < (*l)[j].at }
func (l *later) Swap(i, j int)      { (*l)[i], (*l)[j] = (*l)[j], (*l)[i] }
func (l *later) Push(d any)         { *l = append(*l, d.(slot)) }

func (l *later) Pop() any {
	last := len(*l) - 1
	d := (*l)[last]
	(*l)[last] = slot{}
	*l = (*l)[:last]
	return d
}

// settle applies what is due by now.
func (s *Server) settle(now time.Time) {
	for len(s.later) > 0 && s.later[0].at <= now.UnixNano() {
		d := heap.Pop(&s.later).(slot).due
		s.apply(d)
		d.cohort.release(d.id, d.user)
	}
}
