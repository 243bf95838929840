package brazetest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
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
	history  history
	cohorts  map[string]*cohort
	labels   map[string]bool // Those of all aliases.
	later    *later
	violated []string
	counters Counters
}

// New returns a Braze without cohorts.
func New(o Options) *Server {
	o.Partner = cmp.Or(o.Partner, "amplitude")
	o.MaxBody = cmp.Or(o.MaxBody, 4<<20)
	if o.HistoryLimit > 0 {
		o.OperationLimit = cmp.Or(o.OperationLimit, 1)
	}
	s := &Server{
		o: o, rng: rand.New(rand.NewPCG(o.Seed, 0)), keys: [2]string{o.PartnerKey, o.APIKey},
		history: history{limit: o.HistoryLimit},
	}
	s.Reset()
	return s
}

// Reset forgets all cohorts, requests, operations, counters and violations,
// and what the rate limits have counted. Keys and faults stay. What is in
// flight meanwhile is answered and forgotten with the rest; the numbers of
// requests go on.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cohorts, s.labels, s.later, s.violated = make(map[string]*cohort), make(map[string]bool), newLater(s.o.ApplyWithin), nil
	s.history.clear()
	s.counters = Counters{Requests: make(map[string]map[int]int), InFlight: s.counters.InFlight}
	s.limits = [2]limiter{
		{limit: cmp.Or(s.o.Limit, 250_000), per: cmp.Or(s.o.Per, time.Hour), dialect: s.o.Dialect},
		{limit: cmp.Or(s.o.TrackLimit, 3_000), per: cmp.Or(s.o.TrackPer, 3*time.Second), dialect: s.o.Dialect},
	}
}

// SetKeys rotates the keys: only the new ones are accepted from now on.
func (s *Server) SetKeys(partnerKey, apiKey string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = [2]string{partnerKey, apiKey}
}

// Violations returns what no client may ever do and one did: all of it, or
// with a bounded history the newest.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violated)
}

func (s *Server) violation(r *Request, format string, args ...any) {
	s.counters.Violations++
	if limit := s.o.HistoryLimit; limit > 0 && len(s.violated) >= 2*limit {
		s.violated = append(s.violated[:0], s.violated[len(s.violated)-limit:]...)
	}
	s.violated = append(s.violated, fmt.Sprintf("request %d at %s, cohort %q: ", r.Seq, r.ReceivedAt.Format(time.RFC3339Nano), r.Cohort)+
		fmt.Sprintf(format, args...))
}

// lock locks the server and applies what is due by now: whoever looks sees
// Braze as it is at this moment.
func (s *Server) lock() {
	s.mu.Lock()
	s.settle(time.Now())
}
