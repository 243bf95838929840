package brazetest

import (
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
		s.later.push(slot{d.step.at, &all[len(all)-1]}, now)
	}
}

// apply makes one change.
func (s *Server) apply(d *due) {
	u := d.user
	if limit := s.o.OperationLimit; limit > 0 && len(u.applied) == limit {
		u.applied[u.oldest] = d.step
		u.oldest = (u.oldest + 1) % limit
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

// settle applies what is due by now.
func (s *Server) settle(now time.Time) {
	for d := s.later.pop(now.UnixNano()); d != nil; d = s.later.pop(now.UnixNano()) {
		s.apply(d)
		d.cohort.release(d.id, d.user)
	}
}
