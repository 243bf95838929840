package brazetest

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// exchange is one request on its way through the server.
type exchange struct {
	// Request is what the history keeps of it.
	*Request
	server *Server
	method string
	body   []byte
	// direct says that the client's context and the server's are one: then an
	// overlap is real, while over a socket the server may merely not know yet
	// that the client has gone.
	direct bool
	// overlaps are told once this request is answered.
	overlaps []overlap
	// places are those of the operations, while the request is in flight.
	places []place
	// bearer is the token of the Authorization header.
	bearer  string
	cohorts cohortsRequest
	track   trackRequest
}

func newExchange(s *Server, r *http.Request, body []byte) *exchange {
	x := &exchange{server: s, method: r.Method, body: body}
	x.Request = &Request{Path: r.URL.Path, UserAgent: r.UserAgent()}
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		x.bearer = token
	}
	return x
}

// run takes a request through and returns its answer, and what is to happen in
// the answer's place. ctx is the client's.
func (x *exchange) run(ctx context.Context) (reply, Kind) {
	s := x.server
	unread := x.read()
	s.lock()
	x.blame()
	s.record(x.Request)
	header, limited := s.limiter(x.Track).spend()
	fault, latency := s.fault(*x.Request), s.latency()
	var locked bool
	if unread == nil {
		x.audit()
		locked = !x.enter()
	}
	s.mu.Unlock()

	gone := !sleep(ctx, latency+fault.Latency)

	s.lock()
	answer := firstOf(unread, limited)
	if answer == nil && locked {
		answer = says(http.StatusLocked, "Resource locked")
	}
	if answer == nil {
		answer = x.judge(fault.Kind)
	}
	// Whom a loss befalls has been applied by the deadline; anybody else who
	// is gone by now has not.
	if answer == nil && fault.Kind.applies() && (!gone || fault.Kind == AppliedThenLost) {
		s.accept(x)
	}
	kind := fault.Kind
	switch kind {
	case None, PlainErrors, UnindexedErrors, Slow:
		if answer == nil {
			answer = x.success(kind)
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
		x.leave(kind, gone)
	}
	if kind.answers() {
		x.Status, x.AnsweredAt = answer.status, time.Now()
	}
	if !never {
		s.close(x.Request)
	}
	s.mu.Unlock()

	if never {
		<-ctx.Done()
		s.lock()
		if x.direct {
			// To the client it was in flight until its time was up.
			x.leave(kind, true)
		}
		s.close(x.Request)
		s.mu.Unlock()
	}
	if answer.status == http.StatusTooManyRequests {
		header = nil // A 429 says by itself what there is to say of the limit.
	}
	return reply{answer.status, merge(header, answer.header), answer.body}, kind
}

// read decodes a request as far as it goes, and answers what cannot be read.
func (x *exchange) read() *reply {
	root := "/partners/" + x.server.o.Partner + "/cohorts"
	x.Track, x.Naming = x.Path == trackPath, x.Path == root
	switch {
	case !x.Track && !x.Naming && x.Path != root+"/users":
		return says(http.StatusNotFound, "Invalid URL")
	case x.method != http.MethodPost:
		return says(http.StatusMethodNotAllowed, "Method Not Allowed")
	case len(x.body) > x.server.o.MaxBody:
		return says(http.StatusRequestEntityTooLarge, "Request Entity Too Large")
	case x.Track:
		return x.readTrack()
	default:
		return x.readCohorts()
	}
}

// audit notes what a client must never do.
func (x *exchange) audit() {
	if x.Track {
		x.auditTrack()
	} else {
		x.auditCohorts()
	}
}

// judge returns what Braze says against a request, or nil.
func (x *exchange) judge(kind Kind) *reply {
	if x.Track {
		return x.judgeTrack(kind)
	}
	return x.judgeCohorts()
}

// success is the answer to a request that is in order.
func (x *exchange) success(kind Kind) *reply {
	if x.Track {
		return x.processed(kind)
	}
	return says(http.StatusCreated, "success")
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

// String describes an operation for a failing test's output.
func (o Op) String() string {
	sign := "+"
	if o.Remove {
		sign = "-"
	}
	text := fmt.Sprintf("%s%s %s%s", sign, o.Identifier.Kind, o.Identifier.Label, o.Identifier.Value)
	if o.Error != "" {
		text += " (" + o.Error + ")"
	}
	return text
}
