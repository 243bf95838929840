package stream

import "time"

// lease is the proof of membership that sending rests on. Its clock starts at
// the sending of a commit that the broker then accepted: at that moment this
// worker still owned its partitions, and the group cannot have given them to
// another before the session and rebalance timeouts have passed.
//
// A process that was frozen (SIGSTOP, a paused virtual machine) wakes up
// believing that it still owns everything. The monotonic clock may have stood
// still with the machine and the wall clock may have been set back, so the
// greater of the two counts.
type lease struct {
	limit time.Duration
	sent  time.Time
}

func newLease(t Timing, requestTimeout time.Duration) lease {
	return lease{limit: min(t.SessionTimeout, t.RebalanceTimeout) - t.HeartbeatInterval - requestTimeout}
}

// renew notes that the commit sent at that time was accepted.
func (l *lease) renew(sent time.Time) { l.sent = sent }

// valid says whether a request may start now.
func (l *lease) valid(now time.Time) bool {
	if l.sent.IsZero() {
		return false
	}
	monotonic := now.Sub(l.sent)
	wall := now.Round(0).Sub(l.sent.Round(0))
	return max(monotonic, wall) < l.limit
}
