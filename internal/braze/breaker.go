package braze

import (
	"time"

	"github.com/cenkalti/backoff/v4"
)

const (
	// breakerThreshold is how many failures in a row open the breaker.
	breakerThreshold = 5
	// othersFresh is for how long the success of another cohort shows that
	// the trouble is one cohort's own.
	othersFresh = 5 * time.Minute
)

// breaker keeps requests from a Braze that fails. Closed, it lets all pass;
// opened by failures in a row, it lets none pass for a growing time, and then
// one probe at a time until something succeeds. Its owner guards it.
type breaker struct {
	open    bool
	retryAt time.Time
	wait    backoff.BackOff
	// probeUntil is when a probe that got no answer is given up; zero when no
	// probe is out.
	probeUntil time.Time
	patience   time.Duration

	failures int
	// culprit is the cohort of all failures in a row, unless several.
	culprit string
	several bool
	// last is the last success, other the last one by a different cohort.
	last, other success
}

type success struct {
	cohort string
	at     time.Time
}

// blocks returns how long a request has to wait, or 0.
func (b *breaker) blocks(now time.Time) time.Duration {
	if !b.open {
		return 0
	}
	if wait := b.retryAt.Sub(now); wait > 0 {
		return wait
	}
	return min(max(0, b.probeUntil.Sub(now)), probePoll)
}

// admit notes that a request starts.
func (b *breaker) admit(now time.Time) {
	if b.open {
		b.probeUntil = now.Add(b.patience)
	}
}

func (b *breaker) succeeded(cohort string, now time.Time) {
	if cohort != b.last.cohort {
		b.other = b.last
	}
	b.last = success{cohort, now}
	b.close()
}

// answered notes an answer that is neither success nor a failure that counts:
// it leaves the row of failures as it is, but shows an open breaker that Braze
// is there.
func (b *breaker) answered() {
	if b.open {
		b.close()
	}
}

func (b *breaker) close() {
	b.open, b.several = false, false
	b.failures = 0
	b.probeUntil = time.Time{}
	b.wait.Reset()
}

func (b *breaker) failed(cohort string, now time.Time) {
	if b.open {
		// Without a probe out, it is an older request that fails now.
		if !b.probeUntil.IsZero() {
			b.trip(now)
		}
		return
	}
	if b.failures == 0 {
		b.culprit = cohort
	}
	b.failures++
	b.several = b.several || cohort != b.culprit
	if b.failures >= breakerThreshold && (b.several || !b.othersSucceed(now)) {
		b.trip(now)
	}
}

func (b *breaker) trip(now time.Time) {
	b.open = true
	b.retryAt = now.Add(b.wait.NextBackOff())
	b.probeUntil = time.Time{}
}

// othersSucceed says that a cohort other than the culprit has succeeded
// lately.
func (b *breaker) othersSucceed(now time.Time) bool {
	s := b.last
	if s.cohort == b.culprit {
		s = b.other
	}
	return !s.at.IsZero() && now.Sub(s.at) <= othersFresh
}
