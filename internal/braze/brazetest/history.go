package brazetest

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// history is the requests that are remembered: all, or the newest, in a ring.
type history struct {
	limit int
	seq   int
	ring  []*Request
	// oldest is where a full ring begins.
	oldest int
}

func (h *history) add(r *Request) {
	h.seq++
	r.Seq = h.seq
	if h.limit == 0 || len(h.ring) < h.limit {
		h.ring = append(h.ring, r)
		return
	}
	h.ring[h.oldest] = r
	h.oldest = (h.oldest + 1) % h.limit
}

func (h *history) clear() { h.ring, h.oldest = nil, 0 }

// newest returns the newest n requests in the order of their arrival.
func (h *history) newest(n int) []Request {
	n = min(n, len(h.ring))
	all := make([]Request, 0, n)
	for i := len(h.ring) - n; i < len(h.ring); i++ {
		all = append(all, *h.ring[(h.oldest+i)%len(h.ring)])
	}
	return all
}

// History returns the requests in the order of their arrival, as far back as
// Options.HistoryLimit.
func (s *Server) History() []Request {
	s.lock()
	defer s.mu.Unlock()
	return s.history.newest(len(s.history.ring))
}

// Newest returns the newest n requests, as History does.
func (s *Server) Newest(n int) []Request {
	s.lock()
	defer s.mu.Unlock()
	return s.history.newest(n)
}

// Counters count what has been since the start, or the last Reset.
type Counters struct {
	// Requests counts by endpoint ("cohorts", "cohorts/users", "users/track",
	// "other") and status; those that never got an answer have the status 0.
	Requests map[string]map[int]int
	// InFlight is how many requests wait for their answer at this moment.
	InFlight int
	// Accepted and Refused count operations: those that Braze took, and those
	// of items that it refused by themselves.
	Accepted, Refused int
	// Due is how many accepted operations are not applied yet.
	Due        int
	Violations int
	// Identifiers is how many entries the memory of all cohorts has at this
	// moment, and Members how many of them are members.
	Identifiers, Members int
}

// Counters returns the counters of this moment.
func (s *Server) Counters() Counters {
	s.lock()
	defer s.mu.Unlock()
	c := s.counters
	c.Requests = make(map[string]map[int]int, len(s.counters.Requests))
	for endpoint, statuses := range s.counters.Requests {
		c.Requests[endpoint] = maps.Clone(statuses)
	}
	c.Due = s.later.length()
	for _, cohort := range s.cohorts {
		c.Identifiers += len(cohort.users)
		c.Members += cohort.members
	}
	return c
}

// record starts the history of a request.
func (s *Server) record(r *Request) {
	r.ReceivedAt = time.Now()
	for i := range r.Ops {
		switch op := &r.Ops[i]; {
		case op.Error != "":
			r.Refused++
		case op.Remove:
			r.Removes++
		default:
			r.Adds++
		}
	}
	s.history.add(r)
	s.counters.InFlight++
	s.observe(r)
}

// close ends the history of a request: it counts it and keeps of its
// operations as many as it may. Those it keeps are copies, for the request's
// own share the memory of its whole body.
func (s *Server) close(r *Request) {
	r.Over = true
	s.observe(r)
	s.counters.InFlight--
	endpoint := r.endpoint()
	if s.counters.Requests[endpoint] == nil {
		s.counters.Requests[endpoint] = make(map[int]int)
	}
	s.counters.Requests[endpoint][r.Status]++
	limit := s.o.HistoryOps
	if limit == 0 {
		return
	}
	r.Cohort, r.Name = strings.Clone(r.Cohort), strings.Clone(r.Name)
	r.Ops = slices.Clone(r.Ops[:min(limit, len(r.Ops))])
	for i := range r.Ops {
		op := &r.Ops[i]
		op.Cohort, op.Identifier = strings.Clone(op.Cohort), cloned(op.Identifier)
	}
}

func (s *Server) observe(r *Request) {
	if s.o.Observe != nil {
		s.o.Observe(*r)
	}
}

func (r *Request) endpoint() string {
	switch {
	case r.Track:
		return "users/track"
	case r.Naming:
		return "cohorts"
	case strings.HasSuffix(r.Path, "/cohorts/users"):
		return "cohorts/users"
	default:
		return "other"
	}
}
