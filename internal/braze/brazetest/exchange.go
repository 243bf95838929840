package brazetest

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"time"
)

// exchange is one request on its way through the server.
type exchange struct {
	Request
	server       *Server
	method, path string
	body         []byte
	payload      payload
	// direct says that the client's context and the server's are one: then an
	// overlap is real, while over a socket the server may merely not know yet
	// that the client has gone.
	direct bool
	// overlaps are told once this request is answered.
	overlaps []*Request
}

// run takes a request through and returns its answer, and what is to happen in
// the answer's place. ctx is the client's.
func (x *exchange) run(ctx context.Context) (reply, Kind) {
	s := x.server
	unread := x.read()
	s.mu.Lock()
	s.record(&x.Request)
	header, limited := s.spend()
	fault, latency := s.fault(x.Request), s.latency()
	var locked bool
	if unread == nil {
		x.audit()
		locked = !x.enter()
	}
	s.mu.Unlock()

	gone := !sleep(ctx, latency)
	applies := fault.Kind == None || fault.Kind == AppliedThenAnswered || fault.Kind == AppliedThenLost

	s.mu.Lock()
	answer := firstOf(unread, limited)
	if answer == nil && locked {
		answer = says(http.StatusLocked, "Resource locked")
	}
	if answer == nil {
		answer = x.judge()
	}
	// Whom a loss befalls has been applied by the deadline; anybody else who
	// is gone by now has not.
	if answer == nil && applies && (!gone || fault.Kind == AppliedThenLost) {
		s.apply(&x.Request)
	}
	kind := fault.Kind
	switch kind {
	case None:
		if answer == nil {
			answer = says(http.StatusCreated, "success")
		}
	case Answered, AppliedThenAnswered:
		answer = &reply{status: fault.Status, header: fault.Header, body: fault.Body}
	default:
		answer = &reply{status: http.StatusOK}
	}
	if gone {
		kind = Silent
	}
	never := kind == Silent || kind == AppliedThenLost
	if !never || !x.direct {
		x.leave(locked, kind, gone)
	}
	if kind == None || kind == Answered || kind == AppliedThenAnswered {
		x.Status, x.AnsweredAt = answer.status, time.Now()
	}
	s.mu.Unlock()

	if never {
		<-ctx.Done()
	}
	if never && x.direct {
		// To the client it was in flight until its time was up.
		s.mu.Lock()
		x.leave(locked, kind, true)
		s.mu.Unlock()
	}
	return reply{answer.status, merge(header, answer.header), answer.body}, kind
}

// enter takes the cohort for this request, unless another has it.
func (x *exchange) enter() bool {
	c := x.server.cohort(x.Cohort)
	if c.busy == nil {
		c.busy = x
		return true
	}
	if x.direct {
		x.server.violation(&x.Request, "in flight together with request %d", c.busy.Seq)
	} else {
		c.busy.overlaps = append(c.busy.overlaps, &x.Request)
	}
	return false
}

// leave gives the cohort back.
func (x *exchange) leave(locked bool, kind Kind, gone bool) {
	c := x.server.cohort(x.Cohort)
	if locked || c.busy != x {
		return
	}
	c.busy = nil
	if gone || kind == Silent {
		return
	}
	for _, other := range x.overlaps {
		x.server.violation(other, "in flight together with request %d", x.Seq)
	}
}

// sleep waits for d and says whether ctx lasted so long.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func firstOf(replies ...*reply) *reply {
	for _, r := range replies {
		if r != nil {
			return r
		}
	}
	return nil
}

func merge(headers ...http.Header) http.Header {
	all := make(http.Header)
	for _, h := range headers {
		maps.Copy(all, h)
	}
	return all
}

// String describes an operation for a failing test's output.
func (o Op) String() string {
	sign := "+"
	if o.Remove {
		sign = "-"
	}
	return fmt.Sprintf("%s%s %s%s", sign, o.Identifier.Kind, o.Identifier.Label, o.Identifier.Value)
}
