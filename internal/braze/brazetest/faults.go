package brazetest

import (
	"cmp"
	"net/http"
	"time"
)

// Faults are failures by probability, each from 0 to 1, tried in this order.
// Latency passes before each answer and before what is applied.
type Faults struct {
	Latency time.Duration
	// Jitter adds up to as much to the latency.
	Jitter time.Duration
	// ServerError answers 503 and applies nothing.
	ServerError float64
	// AppliedThenLost applies the request and never answers.
	AppliedThenLost float64
	// AppliedThenError applies the request and answers 502.
	AppliedThenError float64
	// Limited answers 429 with a reset in whole seconds, 1 to LimitedFor; 30 s
	// when that is zero.
	Limited    float64
	LimitedFor time.Duration
	// Locked answers 423.
	Locked float64
	// Reset cuts the connection and applies nothing.
	Reset float64
	// Silent never answers and applies nothing.
	Silent float64
	// HTML answers 200 with a page for people and applies nothing.
	HTML float64
	// TooLarge answers 413.
	TooLarge float64
	// NotSuccess answers 201 with a message that is not "success" and applies
	// nothing.
	NotSuccess float64
	// PlainErrors and UnindexedErrors tell what is wrong with single items in
	// those forms.
	PlainErrors, UnindexedErrors float64
}

// Kind is what goes wrong with a request.
type Kind uint8

// The kinds of fault. Latency passes before each.
const (
	// None lets the request be.
	None Kind = iota
	// Answered gives the fault's answer and applies nothing.
	Answered
	// AppliedThenAnswered applies a request that is in order and gives the
	// fault's answer.
	AppliedThenAnswered
	// AppliedThenLost applies a request that is in order and never answers.
	AppliedThenLost
	// Silent never answers.
	Silent
	// Reset cuts the connection.
	Reset
	// Endless answers 200 with a body that never ends.
	Endless
	// Stalled answers 200 and the start of a body, and then nothing.
	Stalled
	// PlainErrors lets the request be, and tells what is wrong with single
	// items of the attributes API as strings.
	PlainErrors
	// UnindexedErrors lets the request be, and does not tell which items of the
	// attributes API are wrong.
	UnindexedErrors
	// Slow lets the request be, after the fault's latency.
	Slow
)

// applies says whether a request that is in order is applied.
func (k Kind) applies() bool {
	switch k {
	case None, AppliedThenAnswered, AppliedThenLost, PlainErrors, UnindexedErrors, Slow:
		return true
	default:
		return false
	}
}

// answers says whether the client gets a whole answer.
func (k Kind) answers() bool {
	switch k {
	case None, Answered, AppliedThenAnswered, PlainErrors, UnindexedErrors, Slow:
		return true
	default:
		return false
	}
}

// Fault is what happens to one request.
type Fault struct {
	Kind   Kind
	Status int
	Header http.Header
	Body   string
	// Latency adds to the latency of all requests.
	Latency time.Duration
}

// Answer is the fault that answers so and applies nothing.
func Answer(status int, body string) Fault {
	return Fault{Kind: Answered, Status: status, Body: body}
}

// Redirect is the fault that answers 307 to another place.
func Redirect(to string) Fault {
	return Fault{Kind: Answered, Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {to}}}
}

// HTMLPage is the body of a page for people.
const HTMLPage = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Welcome to the hotel</body></html>"

// SetFaults sets the failures by probability from now on.
func (s *Server) SetFaults(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
}

// Faults returns the failures by probability.
func (s *Server) Faults() Faults {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults
}

// Script asks a function for the fault of every request, before all other
// faults; nil ends it. The function must not call the server.
func (s *Server) Script(script func(Request) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = script
}

// Queue gives the next requests one fault each.
func (s *Server) Queue(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, faults...)
}

// latency returns how long a request takes.
func (s *Server) latency() time.Duration {
	wait := s.faults.Latency
	if s.faults.Jitter > 0 {
		wait += time.Duration(s.rng.Int64N(int64(s.faults.Jitter)))
	}
	return wait
}

// fault returns what happens to a request: by script, by queue, by chance.
func (s *Server) fault(r Request) Fault {
	if s.script != nil {
		if f := s.script(r); f.Kind != None {
			return f
		}
	}
	if len(s.queue) > 0 {
		f := s.queue[0]
		s.queue = s.queue[1:]
		return f
	}
	chance := func(p float64) bool { return p > 0 && s.rng.Float64() < p }
	f := &s.faults
	switch {
	case chance(f.ServerError):
		return Answer(http.StatusServiceUnavailable, `{"message":"Service Unavailable"}`)
	case chance(f.AppliedThenLost):
		return Fault{Kind: AppliedThenLost}
	case chance(f.AppliedThenError):
		return Fault{Kind: AppliedThenAnswered, Status: http.StatusBadGateway}
	case chance(f.Limited):
		return Fault{
			Kind: Answered, Status: http.StatusTooManyRequests, Body: limitedBody,
			Header: s.limiter(r.Track).limited(time.Duration(1+s.rng.IntN(int(cmp.Or(f.LimitedFor, 30*time.Second)/time.Second))) * time.Second),
		}
	case chance(f.Locked):
		return Answer(http.StatusLocked, `{"message":"Resource locked"}`)
	case chance(f.Reset):
		return Fault{Kind: Reset}
	case chance(f.Silent):
		return Fault{Kind: Silent}
	case chance(f.HTML):
		return Answer(http.StatusOK, HTMLPage)
	case chance(f.TooLarge):
		return Answer(http.StatusRequestEntityTooLarge, `{"message":"Request Entity Too Large"}`)
	case chance(f.NotSuccess):
		return Answer(http.StatusCreated, `{"message":"The request could not be processed"}`)
	case chance(f.PlainErrors):
		return Fault{Kind: PlainErrors}
	case chance(f.UnindexedErrors):
		return Fault{Kind: UnindexedErrors}
	default:
		return Fault{}
	}
}
