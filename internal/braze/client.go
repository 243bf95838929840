package braze

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
)

const (
	// maxAnswer is how much of an answer is read.
	maxAnswer = 64 << 10
	// idlePerHost keeps a connection for each request that a target may have
	// in flight.
	idlePerHost = 64
	// pingAfter and pingTimeout find an HTTP/2 connection that has gone dead:
	// without pings it would be used again after every timeout, for hours.
	pingAfter   = 5 * time.Second
	pingTimeout = 5 * time.Second
	// writeBuffer takes most requests, so that each is written in one go rather
	// than by net/http's 4 KiB. Every connection has one.
	writeBuffer = 32 << 10
	// patience is how often a part of a divided batch is sent again after a
	// failure that passes. Without it a long search would begin anew each time.
	patience = 4
)

// Options are what a client takes. Throttle, Transport, Metrics and Logger
// are the caller's; they may be shared between clients.
type Options struct {
	// Target is the target's name, for metrics and logs.
	Target string
	// Endpoint is the base URL without a trailing slash, Partner the path
	// segment of the cohorts API.
	Endpoint, Partner string
	// Credentials loads the partner's key, for the cohorts API, and the
	// customer's. It is called on first use and again after Braze has refused
	// them.
	Credentials func() (partnerKey, apiKey string, err error)
	// RequestTimeout bounds each request, from its admission to the end of
	// its answer.
	RequestTimeout time.Duration
	// Throttle is told what each request brought; the caller asks it.
	Throttle *Throttle
	// Transport carries the requests; nil is a transport of the client's own.
	Transport http.RoundTripper
	Metrics   *Metrics
	// NewBackOff returns the waits between attempts at a part of a divided batch.
	NewBackOff func() backoff.BackOff
	// Version is this program's, for the User-Agent.
	Version string
	Now     func() time.Time
	Logger  *slog.Logger
}

// client is what the APIs have in common: one POST at a time, classified,
// redacted, counted and told to the throttle.
type client struct {
	o         Options
	userAgent string

	mu sync.Mutex
	// keys are nil until they are loaded and after Braze has refused them.
	keys *credentials
}

type credentials struct{ partner, api string }

// call is one request to be.
type call struct {
	path    string
	cohort  string
	metrics *requestMetrics
	admit   Admit
	body    func(*credentials) []byte
	// bearer says that the key travels in a header rather than in the body.
	bearer bool
	// judge reads what is the API's own: a 400, and a 2xx that is empty or a
	// JSON object. It returns nil for a success, *Error, *rejected or *partial.
	judge func(*answer, *credentials) error
	// whole says that nothing can be left out to make the request smaller.
	whole bool
}

// NewTransport returns a transport fit for Braze. The caller closes its idle
// connections.
func NewTransport() *http.Transport {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = idlePerHost
	transport.MaxIdleConns = 0
	transport.WriteBufferSize = writeBuffer
	transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout}
	return transport
}

func newClient(o Options) *client {
	if o.Transport == nil {
		o.Transport = NewTransport()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Throttle.watch(o.Metrics.throttle(o.Target), o.RequestTimeout)
	return &client{
		o: o,
		// https://www.braze.com/docs/partners/isv_partners/api_partner
		userAgent: "partner-Cohortsync-Cohortsync/" + o.Version,
	}
}

// post sends one request. Its error is nil, *Error, *rejected, *partial, what
// admit returned, or ctx's own. The body is made before admit is asked, so that
// nothing slow lies between the leave to send and the write; it is not pooled,
// for a transport may go on reading it after it has returned.
func (c *client) post(ctx context.Context, call call) error {
	keys, err := c.load()
	if err != nil {
		return err
	}
	body := call.body(keys)
	req, err := http.NewRequest(http.MethodPost, c.o.Endpoint+call.path, bytes.NewReader(body)) //nolint:noctx // Its context starts after admit.
	if err != nil {
		return &Error{Class: Unexpected, Message: fmt.Sprintf("making the request: %v", err), Err: err}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", c.userAgent)
	if call.bearer {
		req.Header.Set("Authorization", "Bearer "+keys.api)
	}
	if err := call.admit(ctx); err != nil {
		return err
	}
	started := c.o.Now()
	a := c.exchange(ctx, req)
	call.metrics.duration.Observe(c.o.Now().Sub(started).Seconds())
	if a.err != nil && ctx.Err() != nil {
		call.metrics.outcomes[outcomeCancelled].Inc()
		return ctx.Err()
	}
	err = a.judge(keys, &call)
	c.settle(ctx, call, keys, &a, err)
	return err
}

// divide sends a batch of n items by try, in as many requests as it takes. The
// first is the caller's to send again; the others are here.
func (c *client) divide(ctx context.Context, n int, try func(from, to int) error) Report {
	return divide(n, func(from, to int) error {
		err := try(from, to)
		if from == 0 && to == n {
			return err
		}
		wait := c.o.NewBackOff()
		for range patience {
			if class, ok := ClassOf(err); !ok || class.Locks() {
				return err
			}
			timer := time.NewTimer(wait.NextBackOff())
			select {
			case <-ctx.Done():
				timer.Stop()
				return ctx.Err()
			case <-timer.C:
			}
			err = try(from, to)
		}
		return err
	})
}

// exchange writes the request and reads the answer. It goes by the transport
// itself: a client would follow a redirect, or fail on a bad one, and a
// redirect would carry the secrets elsewhere.
func (c *client) exchange(ctx context.Context, req *http.Request) answer {
	ctx, cancel := context.WithTimeout(ctx, c.o.RequestTimeout)
	defer cancel()
	res, err := c.o.Transport.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return answer{err: c.lost(err)}
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	a := answer{status: res.StatusCode, header: res.Header, body: body}
	if len(body) > maxAnswer {
		a.body, a.cut = body[:maxAnswer], true
	}
	if err != nil {
		a.err = c.lost(err)
	}
	return a
}

// lost says in plain words that the time was up.
func (c *client) lost(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no whole answer within %s: %w", c.o.RequestTimeout, err)
	}
	return err
}

// settle counts the request and tells the throttle.
func (c *client) settle(ctx context.Context, call call, keys *credentials, a *answer, err error) {
	told := Answer{CohortID: call.cohort, Header: a.header}
	outcome := outcomeSuccess
	var some *partial
	switch {
	case err == nil:
	case errors.As(err, &some):
		// Braze took the request: nothing speaks against its health.
		outcome = outcomePartial
	default:
		outcome = outcomeDivided
		told.Failure = &Failure{Status: a.status}
		if failed, ok := errors.AsType[*Error](err); ok {
			outcome = failed.Class.String()
			told.Failure.Class = failed.Class
			if failed.Class == Refused {
				c.forget(keys)
			}
		}
	}
	if err != nil {
		c.o.Logger.DebugContext(ctx, "request failed", "target", c.o.Target, "cohort_id", call.cohort,
			"class", outcome, "status", a.status, "error", err)
	}
	call.metrics.outcomes[outcome].Inc()
	c.o.Throttle.Answer(told)
}

// load returns the credentials, read anew when they are not known or have been
// refused. Keys that cannot be read are as good as refused ones.
func (c *client) load() (*credentials, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys != nil {
		return c.keys, nil
	}
	partner, api, err := c.o.Credentials()
	if err != nil {
		return nil, &Error{Class: Refused, Message: fmt.Sprintf("reading the credentials: %v", err), Err: err}
	}
	c.keys = &credentials{partner: partner, api: api}
	return c.keys, nil
}

// forget drops credentials that Braze refused, unless newer ones are loaded.
func (c *client) forget(refused *credentials) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys == refused {
		c.keys = nil
	}
}

// answer is what one request brought.
type answer struct {
	status int
	header http.Header
	body   []byte
	// cut says that the answer went on after body.
	cut bool
	// err says that there was no answer, or not all of it.
	err error
}
