package main

import (
	"math/rand/v2"
	"time"
)

// record is one record of the topic, before it is written out.
type record struct {
	// time is its computed_time, in microseconds since the epoch. No other
	// record has it but this one's duplicate.
	time   int64
	people stretch
	in     bool
}

// stretch is some users of one cohort: those that follow on the first one,
// beginning again behind the cohort's last.
type stretch struct {
	first  int64
	cohort int32
	users  int32
}

// sequence makes the records in the order of the log. It is a function of its
// shape alone, and not safe for concurrent use.
//
// Every record takes the next computed_time when it is made. A late record is
// one that is held back: the newer change of the same users, which says the
// opposite, goes first. A duplicate is held back, too. So all different
// records differ in computed_time, and a producer's retry, which may put a
// batch into the log twice, changes nothing about which of them is the newest.
type sequence struct {
	shape
	people *population
	rng    *rand.Rand
	// drawn counts the changes that were made, those held back included.
	drawn int64
	// clock is the computed_time of the newest record.
	clock int64
	held  holding
	// entered are people who may leave.
	entered []stretch
	walk    *walk
}

// mostEntered bounds what is remembered of those who may leave.
const mostEntered = 1 << 16

func newSequence(s shape, p *population) *sequence {
	q := &sequence{shape: s, people: p, rng: rand.New(rand.NewPCG(s.Seed, 0)), clock: s.StartTime.UnixMicro()}
	if s.Unique {
		q.walk = newWalk(p, q.rng)
	}
	return q
}

// next returns the record that comes next in the log, until there is no more.
func (s *sequence) next() (record, bool) {
	if r, ok := s.held.release(s.clock); ok {
		return r, true
	}
	if r, ok := s.draw(); ok {
		return r, true
	}
	return s.held.releaseAny()
}

// draw makes one record and what is to come of it later.
func (s *sequence) draw() (record, bool) {
	r, ok := s.change()
	if !ok {
		return r, false
	}
	users := int64(r.people.users)
	// A late record brings a second one with it, which is not late.
	if !s.chance(s.Late/(1-s.Late)) || s.left(s.drawn) < 2*users {
		s.stamp(&r)
		s.repeat(r)
		return r, true
	}
	older := r
	older.in = !r.in
	s.stamp(&older)
	s.stamp(&r)
	s.hold(older)
	s.repeat(older)
	s.repeat(r)
	return r, true
}

// change says who enters or leaves next.
func (s *sequence) change() (r record, ok bool) {
	left := s.left(s.drawn)
	if left <= 0 {
		return r, false
	}
	if len(s.entered) > 0 && s.chance(s.Churn) {
		r.people = s.forget(s.rng.IntN(len(s.entered)))
	} else {
		r.in = true
		if r.people, ok = s.entrants(); !ok {
			return r, false
		}
	}
	r.people.users = int32(min(int64(r.people.users), left))
	if r.in && s.Churn > 0 {
		s.remember(r.people)
	}
	return r, true
}

// entrants picks a cohort, by its size, and users of it.
func (s *sequence) entrants() (stretch, bool) {
	users := s.UsersPerRecord
	if s.chance(s.Singles) {
		users = 1
	}
	if s.walk != nil {
		return s.walk.next(users)
	}
	membership := s.rng.Int64N(s.people.total())
	cohort := s.people.cohortOf(membership)
	return stretch{
		first: membership - s.people.begin(cohort), cohort: int32(cohort),
		users: int32(min(int64(users), s.people.size(cohort))),
	}, true
}

// stamp gives a record the next computed_time, and counts its changes. The
// times follow the rate. At full speed they are a microsecond apart, about as
// fast as they can be written, so that none is far ahead of the clock: workers
// do not believe a computed_time of more than five minutes in the future.
func (s *sequence) stamp(r *record) {
	s.clock++
	if s.Rate > 0 {
		s.clock = max(s.clock, s.StartTime.UnixMicro()+sinceStart(s.drawn, s.Rate).Microseconds())
	}
	s.drawn += int64(r.people.users)
	r.time = s.clock
}

// repeat sends a record a second time, now and then.
func (s *sequence) repeat(r record) {
	if users := int64(r.people.users); s.chance(s.Duplicates) && s.left(s.drawn) >= users {
		s.drawn += users
		s.hold(r)
	}
}

func (s *sequence) hold(r record) {
	s.held.hold(r, s.clock+1+s.rng.Int64N(s.LateBy.Microseconds()))
}

func (s *sequence) remember(people stretch) {
	if len(s.entered) < mostEntered {
		s.entered = append(s.entered, people)
		return
	}
	s.entered[s.rng.IntN(mostEntered)] = people
}

func (s *sequence) forget(i int) stretch {
	people, last := s.entered[i], len(s.entered)-1
	s.entered[i] = s.entered[last]
	s.entered = s.entered[:last]
	return people
}

func (s *sequence) chance(share float64) bool { return share > 0 && s.rng.Float64() < share }

// sinceStart is when so many changes are due at a rate of changes a second.
func sinceStart(changes int64, rate int) time.Duration {
	each := int64(rate)
	return time.Duration(changes/each)*time.Second + time.Duration(changes%each)*time.Second/time.Duration(each)
}
