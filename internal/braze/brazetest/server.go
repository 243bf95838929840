package brazetest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"cohortsync/internal/catalog"
)

// Server is a simulated Braze. It is safe for concurrent use and works in
// virtual time: it has no goroutine of its own.
type Server struct {
	o Options

	mu       sync.Mutex
	rng      *rand.Rand
	keys     [2]string
	faults   Faults
	script   func(Request) Fault
	queue    []Fault
	limits   [2]limiter
	seq      int
	history  []*Request
	cohorts  map[string]*cohort
	later    later
	violated []string
}

// New returns a Braze without cohorts.
func New(o Options) *Server {
	o.Partner = cmp.Or(o.Partner, "amplitude")
	o.MaxBody = cmp.Or(o.MaxBody, 4<<20)
	return &Server{
		o: o, rng: rand.New(rand.NewPCG(o.Seed, 0)),
		keys: [2]string{o.PartnerKey, o.APIKey}, cohorts: make(map[string]*cohort),
		limits: [2]limiter{
			{limit: cmp.Or(o.Limit, 250_000), per: cmp.Or(o.Per, time.Hour), dialect: o.Dialect},
			{limit: cmp.Or(o.TrackLimit, 3_000), per: cmp.Or(o.TrackPer, 3*time.Second), dialect: o.Dialect},
		},
	}
}

// SetKeys rotates the keys: only the new ones are accepted from now on.
func (s *Server) SetKeys(partnerKey, apiKey string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = [2]string{partnerKey, apiKey}
}

// Members returns who is in a cohort.
func (s *Server) Members(id string) map[catalog.Identifier]bool {
	return s.who(id, func(u *user) bool { return u.member })
}

// Accepted returns who is in a cohort by what was accepted, in that order,
// whether or not it has been applied yet. It differs from Members for good
// only when the attributes API was told two things about one identifier
// within Options.ApplyWithin.
func (s *Server) Accepted(id string) map[catalog.Identifier]bool {
	return s.who(id, func(u *user) bool { return u.accepted })
}

func (s *Server) who(id string, is func(*user) bool) map[catalog.Identifier]bool {
	s.lock()
	defer s.mu.Unlock()
	all := make(map[catalog.Identifier]bool)
	if c := s.cohorts[id]; c != nil {
		for identifier, u := range c.users {
			if is(u) {
				all[identifier] = true
			}
		}
	}
	return all
}

// Count returns how many are in a cohort.
func (s *Server) Count(id string) int {
	s.lock()
	defer s.mu.Unlock()
	if c := s.cohorts[id]; c != nil {
		return c.members
	}
	return 0
}

// Name returns a cohort's name; empty when it has none.
func (s *Server) Name(id string) string {
	s.lock()
	defer s.mu.Unlock()
	if c := s.cohorts[id]; c != nil {
		return c.name
	}
	return ""
}

// Cohorts returns the ids of all named cohorts and the names of all attributes
// that were written, sorted.
func (s *Server) Cohorts() []string {
	s.lock()
	defer s.mu.Unlock()
	var ids []string
	for id, c := range s.cohorts {
		if c.named || c.attribute {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// History returns the requests in the order of their arrival, as far back as
// Options.HistoryLimit.
func (s *Server) History() []Request {
	s.lock()
	defer s.mu.Unlock()
	all := make([]Request, len(s.history))
	for i, r := range s.history {
		all[i] = *r
	}
	return all
}

// Operations returns what was applied to one identifier, in order: all of it,
// or with a bounded history only the last.
func (s *Server) Operations(cohortID string, id catalog.Identifier) []Operation {
	s.lock()
	defer s.mu.Unlock()
	if c := s.cohorts[cohortID]; c != nil && c.users[id] != nil {
		return slices.Clone(c.users[id].applied)
	}
	return nil
}

// Violations returns what no client may ever do and one did.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violated)
}

func (s *Server) violation(r *Request, format string, args ...any) {
	s.violated = append(s.violated, fmt.Sprintf("request %d at %s, cohort %q: ", r.Seq, r.ReceivedAt.Format(time.RFC3339Nano), r.Cohort)+
		fmt.Sprintf(format, args...))
}

// lock locks the server and applies what is due by now: whoever looks sees
// Braze as it is at this moment.
func (s *Server) lock() {
	s.mu.Lock()
	s.settle(time.Now())
}

// record starts the history of a request.
func (s *Server) record(r *Request) {
	s.seq++
	r.Seq, r.ReceivedAt = s.seq, time.Now()
	s.history = append(s.history, r)
	if limit := s.o.HistoryLimit; limit > 0 && len(s.history) > 2*limit {
		s.history = slices.Clone(s.history[len(s.history)-limit:])
	}
}
