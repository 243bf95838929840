package stream

import "time"

// lease is the proof of membership that sending rests on. Its clock starts at
// the sending of a commit that the broker then accepted: at that moment this
// worker still owned its partitions, and the group cannot have given them to
// another before the session and rebalance timeouts have passed.
//
// That holds as long as the worker learns of a rebalance when it begins. A
// broker accepts commits while a rebalance is under way, so the first commit of
// a process that was frozen (SIGSTOP, a paused virtual machine) may be accepted
// moments before its partitions go to another. A commit after a long silence
// therefore only arms the lease; one that is sent more than a heartbeat interval
// later renews it, for by then a heartbeat has told of any rebalance and ended
// the generation.
//
// The monotonic clock may have stood still with the machine and the wall clock
// may have been set back, so the greater of the two counts.
type lease struct {
	limit, heartbeat time.Duration
	// known is when the worker last knew in time that it was a member: at the
	// beginning of its generation, and at the sending of each commit that renewed
	// the lease.
	known time.Time
	// armed is when the first commit after a silence was sent, zero for none.
	armed time.Time
	// held says that a commit has renewed the lease at all.
	held bool
}

func newLease(t Timing, requestTimeout time.Duration, began time.Time) lease {
	return lease{
		limit:     min(t.SessionTimeout, t.RebalanceTimeout) - t.HeartbeatInterval - requestTimeout,
		heartbeat: t.HeartbeatInterval, known: began,
	}
}

// renew notes that the commit sent at that time was accepted.
func (l *lease) renew(sent time.Time) {
	if !l.armed.IsZero() {
		if elapsed(l.armed, sent) <= l.heartbeat {
			return
		}
	} else if elapsed(l.known, sent) >= l.limit-l.heartbeat {
		l.armed = sent
		return
	}
	l.known, l.armed, l.held = sent, time.Time{}, true
}

// valid says whether a request may start now.
func (l *lease) valid(now time.Time) bool { return l.held && elapsed(l.known, now) < l.limit }

// elapsed is the time between two moments by the greater of both clocks.
func elapsed(from, to time.Time) time.Duration {
	return max(to.Sub(from), to.Round(0).Sub(from.Round(0)))
}
