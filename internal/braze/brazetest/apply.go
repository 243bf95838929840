package brazetest

import (
	"container/heap"
	"time"

	"cohortsync/internal/catalog"
)

// cohort is what the server holds about one cohort, or one attribute.
type cohort struct {
	name      string
	named     bool
	attribute bool
	users     map[catalog.Identifier]*user
	// members is how many of the users are.
	members int
	// busy is the request in flight.
	busy *exchange
}

// user is one identifier in one cohort. It is kept while a request or an
// operation that is due later holds it, and for good once anything was applied.
type user struct {
	member, accepted bool
	applied          []Operation
	// holds counts the requests in flight and the operations due later.
	holds int
	// seen is the last request with this user.
	seen int
	// busy is the request of the attributes API in flight.
	busy *exchange
}

func (s *Server) cohort(id string) *cohort {
	c := s.cohorts[id]
	if c == nil {
		c = &cohort{users: make(map[catalog.Identifier]*user)}
		s.cohorts[id] = c
	}
	return c
}

// hold returns the user of an identifier and keeps it until release.
func (c *cohort) hold(id catalog.Identifier) *user {
	u := c.users[id]
	if u == nil {
		u = &user{}
		c.users[id] = u
	}
	u.holds++
	return u
}

// release forgets a user of whom nothing is known.
func (c *cohort) release(id catalog.Identifier, u *user) {
	u.holds--
	if u.holds == 0 && len(u.applied) == 0 {
		delete(c.users, id)
	}
}

// accept carries out a request that is in order, or for the attributes API
// sees to it that it will be.
func (s *Server) accept(x *exchange) {
	x.Applied = true
	if x.Naming {
		c := s.cohort(x.Cohort)
		c.name, c.named = x.Name, true
		return
	}
	now := time.Now()
	for i, op := range x.Ops {
		if op.Error != "" {
			continue
		}
		place := x.places[i]
		place.cohort.attribute = place.cohort.attribute || x.Track
		if s.knows(op.Identifier) {
			place.user.accepted = !op.Remove
		}
		if !x.Track || s.o.ApplyWithin <= 0 {
			s.apply(place, op.Identifier, Operation{x.Seq, now, op.Remove})
			continue
		}
		place.user.holds++
		heap.Push(&s.later, due{place, op.Identifier, Operation{
			x.Seq, now.Add(time.Duration(s.rng.Int64N(int64(s.o.ApplyWithin)))), op.Remove,
		}})
	}
}

// apply makes one change.
func (s *Server) apply(p place, id catalog.Identifier, op Operation) {
	u := p.user
	if s.o.HistoryLimit > 0 {
		u.applied = u.applied[:0]
	}
	u.applied = append(u.applied, op)
	if !s.knows(id) || u.member != op.Remove {
		return
	}
	u.member = !op.Remove
	if u.member {
		p.cohort.members++
	} else {
		p.cohort.members--
	}
}

// knows says whether Braze has the user, whom else it ignores.
func (s *Server) knows(id catalog.Identifier) bool {
	if s.o.Known != nil && !s.o.Known(id) {
		return false
	}
	return id.Kind != catalog.DeviceID || s.o.Identified == nil || !s.o.Identified(id.Value)
}

// place is where an operation belongs.
type place struct {
	cohort *cohort
	user   *user
}

// due is an operation that Braze has accepted and applies at its time.
type due struct {
	place
	id catalog.Identifier
	op Operation
}

// later is a heap of what is due, the earliest first. It takes the place of a
// goroutine: nobody sees the difference between what was applied at its time
// and what is applied, with that time, by the first who looks.
type later []due

func (l *later) Len() int           { return len(*l) }
func (l *later) Less(i, j int) bool { return (*l)[i].op.At.Before((*l)[j].op.At) }
func (l *later) Swap(i, j int)      { (*l)[i], (*l)[j] = (*l)[j], (*l)[i] }
func (l *later) Push(d any)         { *l = append(*l, d.(due)) }

func (l *later) Pop() any {
	last := len(*l) - 1
	d := (*l)[last]
	(*l)[last] = due{}
	*l = (*l)[:last]
	return d
}

// settle applies what is due by now.
func (s *Server) settle(now time.Time) {
	for len(s.later) > 0 && !s.later[0].op.At.After(now) {
		d := heap.Pop(&s.later).(due)
		s.apply(d.place, d.id, d.op)
		d.cohort.release(d.id, d.user)
	}
}
