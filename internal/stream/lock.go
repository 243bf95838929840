package stream

import (
	"slices"
	"time"

	"cohortsync/internal/braze"
)

// Why a target is locked, for logs and a metric's label.
const (
	lockRefused     = "refused"
	lockInvalid     = "invalid"
	lockDeadLetters = "too_many_dead_letters"
)

// The probe's intervals: the first, doubled each time, up to the last.
const (
	firstProbe = time.Second
	lastProbe  = time.Minute
)

// lock is the state of a locked target: nothing is read, nothing but the
// probe is sent, the offsets stay. The probe is the refused request itself;
// only its success unlocks.
type lock struct {
	reason string
	// refused is the cohort whose request was refused, or nil when the
	// generation that sent it has ended.
	refused *cohort
	// naming says that what was refused was a naming: one that passes shows
	// nothing about a batch.
	naming   bool
	interval time.Duration
	// probeAt is when the next probe may leave, by the target's clock.
	probeAt int64
}

// stopsReading says whether feeds have to wait. Without a refused request
// they go on until there is one to probe with.
func (l *lock) stopsReading() bool { return l.refused != nil }

// postpone puts the next probe off.
func (l *lock) postpone(clock int64) {
	l.interval = min(2*l.interval, lastProbe)
	l.probeAt = clock + int64(l.interval)
}

// refuse locks the target after the cohort's request, a naming or a batch, was
// refused, or puts the next probe off when it was the probe. It returns what to
// log. The caller holds the mutex.
func (t *Target) refuse(c *cohort, naming bool, reason string, clock int64, err error) (tell func()) {
	if l := t.lock; l != nil {
		if l.refused == c || l.refused == nil {
			l.refused, l.naming, l.reason = c, naming, reason
			l.postpone(clock)
		}
		return nil
	}
	t.lock = &lock{reason: reason, refused: c, naming: naming, interval: firstProbe, probeAt: clock + int64(firstProbe)}
	t.metrics.locks.Inc()
	return func() {
		t.log.Error("the target is locked: nothing is read or sent until the refused request passes",
			"reason", reason, "cohort", c.id, "error", err)
	}
}

// unlock lifts the lock when the request that passed is like the one that was
// refused.
// The caller holds the mutex.
func (t *Target) unlock(c *cohort, naming bool) (tell func()) {
	if t.lock == nil || t.lock.refused != c || naming && !t.lock.naming {
		return nil
	}
	t.lock = nil
	return func() { t.log.Info("the target is unlocked") }
}

// halt stops reading because too many of the target's records cannot be
// decoded. What is pending is delivered. No request could show that this is
// mended, so it lasts until the generation ends.
func (t *Target) halt() {
	t.mu.Lock()
	fresh := !t.halted
	t.halted = true
	t.mu.Unlock()
	if !fresh {
		return
	}
	t.metrics.locks.Inc()
	t.log.Error("the target is locked: too many records cannot be decoded; mend the producer, or raise max_dead_letters_per_minute, and restart",
		"reason", lockDeadLetters, "limit", t.Options.Target.MaxDeadLettersPerMinute)
}

// lockedBy returns the reasons for which the target is locked. The caller
// holds the mutex.
func (t *Target) lockedBy() []string {
	var reasons []string
	if t.lock != nil {
		reasons = append(reasons, t.lock.reason)
	}
	if t.halted && !slices.Contains(reasons, lockDeadLetters) {
		reasons = append(reasons, lockDeadLetters)
	}
	return reasons
}

// lockReason returns the lock's reason for a class that locks.
func lockReason(class braze.Class) string {
	if class == braze.Refused {
		return lockRefused
	}
	return lockInvalid
}

// letterBudget counts dead letters over the last minute, second by second.
type letterBudget struct {
	perMinute int
	seconds   [60]int
	at        int64
	total     int
}

// spend counts n more and says whether the minute has room for them.
func (b *letterBudget) spend(n int, now time.Time) bool {
	second := now.Unix()
	for ; b.at < second; b.at++ {
		if second-b.at > int64(len(b.seconds)) {
			b.seconds, b.total, b.at = [60]int{}, 0, second-1
		}
		slot := &b.seconds[(b.at+1)%int64(len(b.seconds))]
		b.total -= *slot
		*slot = 0
	}
	if b.total+n > b.perMinute {
		return false
	}
	b.seconds[second%int64(len(b.seconds))] += n
	b.total += n
	return true
}
