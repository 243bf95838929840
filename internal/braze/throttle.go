package braze

import (
	"context"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"golang.org/x/time/rate"

	"cohortsync/internal/catalog"
)

const (
	// maxHold bounds what a reset time can do, however far ahead Braze puts it.
	maxHold = time.Hour
	// maxJitter is the most that a hold is longer than the reset asks for.
	maxJitter = 5 * time.Second
	// maxAsk bounds Take's answer, for a rate or a hold may change meanwhile.
	maxAsk = time.Minute
	// probePoll is how soon those who wait for a probe's answer ask again.
	probePoll = time.Second
	// lowShare is the part of the limit below which what remains is rationed.
	lowShare = 0.1
)

// Throttle is the rate limit and the breaker of one credential at one
// endpoint, shared by all targets that use them. It is safe for concurrent
// use.
//
// Braze's headers win over the configured limit: a lower X-RateLimit-Limit
// lowers the rate in proportion, a low X-RateLimit-Remaining spreads what is
// left over the time to the reset, and 429 or nothing remaining holds the
// credential until then.
type Throttle struct {
	limit catalog.Limit
	now   func() time.Time
	rand  Rand

	mu      sync.Mutex
	limiter *rate.Limiter
	shares  map[string]share
	share   float64
	// quota is the limit that Braze names; remaining is what it says is left.
	quota, remaining int
	// slow is the rate until slowUntil, when little remains.
	slow      rate.Limit
	slowUntil time.Time
	heldUntil time.Time
	limited   backoff.BackOff
	breaker   breaker
	watchers  []throttleGauges
}

type share struct{ owned, total int }

// ThrottleOptions are what a Throttle takes from outside.
type ThrottleOptions struct {
	Now  func() time.Time
	Rand Rand
}

// Answer is what one request brought, as far as the throttle cares.
type Answer struct {
	CohortID string
	// Failure is nil after a success.
	Failure *Failure
	// Header is nil when there was no answer.
	Header http.Header
}

// Failure is a failed request's class and status. Class is 0 for a 400 or 413
// that the client answers by dividing the batch.
type Failure struct {
	Class  Class
	Status int
}

// counts says that the failure speaks against Braze's health.
func (f *Failure) counts() bool { return f.Class == Unreachable || f.Class == Unexpected }

// ThrottleState is a Throttle at one moment.
type ThrottleState struct {
	// Limit is the number of requests that Braze's headers allow in a window,
	// or the configured one; Remaining is how many it last said are left.
	Limit, Remaining int
	// HeldUntil is when the next request may start; zero when nothing holds.
	HeldUntil   time.Time
	BreakerOpen bool
}

// NewThrottle returns a throttle that has the whole limit to itself until
// Share says otherwise.
func NewThrottle(limit catalog.Limit, opts ThrottleOptions) *Throttle {
	t := &Throttle{
		limit: limit, now: opts.Now, rand: opts.Rand,
		limiter: rate.NewLimiter(0, max(1, limit.Burst)),
		shares:  make(map[string]share), share: 1,
		quota: limit.Requests, remaining: limit.Requests,
		limited: NewBackOff(opts.Rand),
		breaker: breaker{wait: NewBackOff(opts.Rand)},
	}
	t.apply(opts.Now())
	return t
}

// Take spends a token and returns 0 when a request may start now; else it
// returns how long to wait, at most, before asking again. A token that is not
// used is lost and holds back nobody for longer than a request may take.
func (t *Throttle) Take() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	if wait := t.heldUntil.Sub(now); wait > 0 {
		return min(wait, maxAsk)
	}
	if wait := t.breaker.blocks(now); wait > 0 {
		return wait
	}
	if !t.slowUntil.IsZero() && !now.Before(t.slowUntil) {
		t.slowUntil = time.Time{}
		t.apply(now)
	}
	if !t.limiter.AllowN(now, 1) {
		missing := 1 - t.limiter.TokensAt(now)
		seconds := missing / float64(t.limiter.Limit())
		if !(seconds < maxAsk.Seconds()) {
			return maxAsk
		}
		return max(time.Duration(math.Ceil(seconds*float64(time.Second))), time.Microsecond)
	}
	t.breaker.admit(now)
	return 0
}

// Wait blocks until Take succeeds or ctx ends.
func (t *Throttle) Wait(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		wait := t.Take()
		if wait == 0 {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// Share tells which part of a group's partitions this worker owns. Over all
// groups on the credential, that is its part of the limit and of the burst, of
// which it has at least one request.
func (t *Throttle) Share(group string, owned, total int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shares[group] = share{owned, total}
	var sum share
	for _, s := range t.shares {
		sum.owned += s.owned
		sum.total += s.total
	}
	t.share = 1
	if sum.total > 0 {
		t.share = float64(sum.owned) / float64(sum.total)
	}
	t.apply(t.now())
}

// apply sets the limiter to what the limit, the share and the headers come to.
func (t *Throttle) apply(now time.Time) {
	allowed := float64(min(t.quota, t.limit.Requests)) * t.share / t.limit.Per.Seconds()
	if !t.slowUntil.IsZero() {
		allowed = min(allowed, float64(t.slow)*t.share)
	}
	burst := t.limit.Burst
	if !t.slowUntil.IsZero() {
		burst = min(burst, t.remaining)
	}
	t.limiter.SetLimitAt(now, rate.Limit(allowed))
	t.limiter.SetBurstAt(now, max(1, int(float64(burst)*t.share)))
}

// Answer feeds back what a request brought. A request that the caller itself
// ended brings nothing and is not told.
func (t *Throttle) Answer(a Answer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	said := readRateHeaders(a.Header, now)
	switch {
	case a.Failure == nil:
		t.limited.Reset()
		t.breaker.succeeded(a.CohortID, now)
	case a.Failure.counts():
		t.breaker.failed(a.CohortID, now)
	default:
		t.breaker.answered()
	}
	if a.Failure != nil && a.Failure.Class == Limited {
		t.hold(now, said.reset)
	}
	t.obey(said, now)
	t.publish(now)
}

// obey follows the headers that every answer may carry.
func (t *Throttle) obey(said rateHeaders, now time.Time) {
	if said.limit > 0 {
		t.quota = said.limit
	}
	if said.remaining >= 0 {
		t.remaining = said.remaining
		t.slowUntil = time.Time{}
		switch {
		case said.reset <= 0:
		case said.remaining == 0:
			t.hold(now, said.reset)
		case float64(said.remaining) < lowShare*float64(t.quota):
			wait := min(said.reset, maxHold)
			t.slow = rate.Limit(float64(said.remaining) / wait.Seconds())
			t.slowUntil = now.Add(wait)
		}
	}
	t.apply(now)
}

// hold keeps all requests back until the reset; without one, for a growing
// time. The jitter is there because all of Braze's customers share the reset
// at the full hour. A hold never shortens one that is longer.
func (t *Throttle) hold(now time.Time, reset time.Duration) {
	var wait time.Duration
	switch {
	case reset > 0:
		wait = min(reset, maxHold-maxJitter)
		wait += time.Duration(t.rand(1 + int64(min(wait/10, maxJitter))))
	case now.Before(t.heldUntil):
		return // One of several in flight: the first has said it.
	default:
		wait = t.limited.NextBackOff()
	}
	if until := now.Add(wait); until.After(t.heldUntil) {
		t.heldUntil = until
	}
}

// State returns the throttle as it is now.
func (t *Throttle) State() ThrottleState {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state(t.now())
}

func (t *Throttle) state(now time.Time) ThrottleState {
	s := ThrottleState{Limit: t.quota, Remaining: t.remaining, BreakerOpen: t.breaker.open}
	held := t.heldUntil
	if t.breaker.open && t.breaker.retryAt.After(held) {
		held = t.breaker.retryAt
	}
	if held.After(now) {
		s.HeldUntil = held
	}
	return s
}

// watch has the throttle tell one more target's gauges, and reckon with
// requests that take as long as that target's may.
func (t *Throttle) watch(gauges throttleGauges, requestTimeout time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.breaker.patience = max(t.breaker.patience, requestTimeout)
	t.watchers = append(t.watchers, gauges)
	t.publish(t.now())
}

func (t *Throttle) publish(now time.Time) {
	s := t.state(now)
	for _, w := range t.watchers {
		w.set(s)
	}
}
