package brazetest

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"time"
)

// Start serves s on a socket of this machine until the returned server is
// closed.
func (s *Server) Start() *httptest.Server { return httptest.NewServer(s) }

// ServeHTTP makes the server a handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, int64(s.o.MaxBody)+1))
	if err != nil {
		return
	}
	x := newExchange(s, r, body)
	answer, kind := x.run(r.Context())
	switch kind {
	case Silent, AppliedThenLost, Reset:
		panic(http.ErrAbortHandler)
	case Endless, Stalled:
		w.WriteHeader(answer.status)
		_, _ = io.Copy(flushed{w}, &endless{ctx: r.Context(), stalled: kind == Stalled})
		return
	default:
	}
	maps.Copy(w.Header(), answer.header)
	w.WriteHeader(answer.status)
	_, _ = io.WriteString(w, answer.body)
}

// Transport carries requests to the server by calling it, without a socket: so
// it works in the virtual time of testing/synctest.
func (s *Server) Transport() http.RoundTripper { return direct{s} }

type direct struct{ s *Server }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	_ = r.Body.Close()
	if err != nil {
		return nil, fmt.Errorf("reading the request: %w", err)
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	x := newExchange(d.s, r, body)
	x.direct = true
	answer, kind := x.run(r.Context())
	res := &http.Response{
		Status: fmt.Sprintf("%d %s", answer.status, http.StatusText(answer.status)), StatusCode: answer.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: answer.header, ContentLength: -1, Request: r,
		Body: io.NopCloser(strings.NewReader(answer.body)),
	}
	switch kind {
	case Silent, AppliedThenLost:
		return nil, r.Context().Err()
	case Reset:
		return nil, fmt.Errorf("reading the answer: %w", syscall.ECONNRESET)
	case Endless, Stalled:
		res.Body = io.NopCloser(&endless{ctx: r.Context(), stalled: kind == Stalled})
	default:
	}
	return res, nil
}

// flushed sends what is written at once.
type flushed struct{ w http.ResponseWriter }

func (f flushed) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err != nil {
		return n, err
	}
	return n, http.NewResponseController(f.w).Flush()
}

// endless is a body that never ends; stalled, it is one that says little.
type endless struct {
	ctx     context.Context //nolint:containedctx // A reader has no other way to learn it.
	stalled bool
	began   bool
}

func (e *endless) Read(p []byte) (int, error) {
	if e.stalled && e.began {
		<-e.ctx.Done()
	}
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	if !e.stalled {
		sleep(e.ctx, time.Millisecond)
	}
	e.began = true
	for i := range p {
		p[i] = 'x'
	}
	if e.stalled {
		p[0] = '{'
		return 1, nil
	}
	return len(p), nil
}
