// Package brazetest simulates Braze's cohorts API
// (https://www.braze.com/docs/partners/isv_partners/cohort_import): its limits,
// its error texts, its rate-limit headers, and the ways in which it fails. It
// keeps a history of what it was asked and what it applied, and notes what a
// client must never do.
package brazetest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"cohortsync/internal/catalog"
)

// Dialect is how the rate-limit headers tell the reset.
type Dialect uint8

// Braze has two: X-RateLimit-Reset as a time (the default), or as seconds and
// on 429 X-Ratelimit-Retry-After alone.
const (
	EpochReset Dialect = iota
	DeltaReset
)

// Options are what a Server is made with. The zero value takes any keys.
type Options struct {
	// PartnerKey and APIKey are the keys that are accepted; empty takes any.
	PartnerKey, APIKey string
	// Partner is the path segment; empty takes "amplitude".
	Partner string
	// Seed seeds the faults and the jitter of the latency.
	Seed uint64
	// Bad says which identifiers make Braze refuse the whole request with 400.
	Bad func(catalog.Identifier) bool
	// Known says which users exist, others are ignored; nil knows all.
	Known func(catalog.Identifier) bool
	// Identified says which device ids belong to identified users: those are
	// ignored.
	Identified func(deviceID string) bool
	// Limit is the number of requests in each Per, counted from the full hour
	// for an hour; 0 is Braze's 250,000 an hour.
	Limit   int
	Per     time.Duration
	Dialect Dialect
	// MaxBody is the largest body in bytes; 0 is Braze's 4 MB.
	MaxBody int
	// HistoryLimit bounds what is kept of requests; 0 keeps all.
	HistoryLimit int
}

// Op is one change of one identifier in a request.
type Op struct {
	Identifier catalog.Identifier
	Remove     bool
}

// Request is one request as the server saw it.
type Request struct {
	Seq        int
	ReceivedAt time.Time
	// AnsweredAt is zero while there is no answer and when there never was.
	AnsweredAt time.Time
	Cohort     string
	// Naming says that the request names the cohort, with Name.
	Naming bool
	Name   string
	Ops    []Op
	// Status is the answer's, or 0 when none was given.
	Status  int
	Applied bool
	// UserAgent is as the client sent it.
	UserAgent string
}

// Operation is a change that was applied.
type Operation struct {
	// Seq is the request's.
	Seq    int
	At     time.Time
	Remove bool
}

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
	window   time.Time
	used     int
	seq      int
	history  []*Request
	cohorts  map[string]*cohort
	violated []string
}

// cohort is what the server holds about one cohort.
type cohort struct {
	name    string
	named   bool
	members map[catalog.Identifier]bool
	applied map[catalog.Identifier][]Operation
	// busy is the request in flight.
	busy *exchange
}

// New returns a Braze without cohorts.
func New(o Options) *Server {
	if o.Partner == "" {
		o.Partner = "amplitude"
	}
	if o.Limit == 0 {
		o.Limit = 250_000
	}
	if o.Per == 0 {
		o.Per = time.Hour
	}
	if o.MaxBody == 0 {
		o.MaxBody = 4 << 20
	}
	return &Server{
		o: o, rng: rand.New(rand.NewPCG(o.Seed, 0)),
		keys: [2]string{o.PartnerKey, o.APIKey}, cohorts: make(map[string]*cohort),
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
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.cohort(id).members)
}

// Count returns how many are in a cohort.
func (s *Server) Count(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.cohort(id).members)
}

// Name returns a cohort's name; empty when it has none.
func (s *Server) Name(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cohort(id).name
}

// Cohorts returns the ids of all named cohorts, sorted.
func (s *Server) Cohorts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for id, c := range s.cohorts {
		if c.named {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// History returns the requests in the order of their arrival, as far back as
// Options.HistoryLimit.
func (s *Server) History() []Request {
	s.mu.Lock()
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
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.cohort(cohortID).applied[id])
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

func (s *Server) cohort(id string) *cohort {
	c := s.cohorts[id]
	if c == nil {
		c = &cohort{members: make(map[catalog.Identifier]bool), applied: make(map[catalog.Identifier][]Operation)}
		s.cohorts[id] = c
	}
	return c
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

// apply carries out a request.
func (s *Server) apply(r *Request) {
	r.Applied = true
	c := s.cohort(r.Cohort)
	if r.Naming {
		c.name, c.named = r.Name, true
		return
	}
	now := time.Now()
	for _, op := range r.Ops {
		id := op.Identifier
		if s.o.HistoryLimit > 0 {
			c.applied[id] = append(c.applied[id][:0], Operation{r.Seq, now, op.Remove})
		} else {
			c.applied[id] = append(c.applied[id], Operation{r.Seq, now, op.Remove})
		}
		switch {
		case s.o.Known != nil && !s.o.Known(id):
		case id.Kind == catalog.DeviceID && s.o.Identified != nil && s.o.Identified(id.Value):
		case op.Remove:
			delete(c.members, id)
		default:
			c.members[id] = true
		}
	}
}
