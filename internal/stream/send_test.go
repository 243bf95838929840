package stream

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"cohortsync/internal/braze"
)

// failingOnce answers the first batch with an error of that class and delivers
// all others.
func failingOnce(class braze.Class, status int) func(context.Context, braze.Batch) braze.Report {
	var failed atomic.Bool
	return func(ctx context.Context, b braze.Batch) braze.Report {
		if failed.CompareAndSwap(false, true) {
			return failing(class, status)(ctx, b)
		}
		return blaming()(ctx, b)
	}
}

func TestAFailedBatchIsSentAgainInItsOrder(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.braze.script(failingOnce(braze.Unreachable, 503))
		stop := r.run()
		defer stop()
		r.produce(0, "c1", true, time.Now(), "u1", "u2", "u3", "u4")
		r.settled()
		if got := r.delivered(); got != "+u1 +u2 +u3 +u1 +u2 +u3 +u4" {
			t.Errorf("sent %s", got)
		}
	})
}

// The throttle holds the whole credential back until the reset. A backoff of
// the cohort's own would come on top of that.
func TestA429PutsTheCohortOffNoLongerThanTheThrottleDoes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.braze.script(failingOnce(braze.Limited, 429))
		stop := r.run()
		defer stop()
		r.produce(0, "c1", true, time.Now(), "u1")
		r.settled()
		sent := r.braze.sent()
		if len(sent) != 2 || !sent[1].at.Equal(sent[0].at) {
			t.Errorf("sent %v", sent)
		}
	})
}

// slowThrottle takes its time over a token.
type slowThrottle struct {
	openThrottle
	takes atomic.Int64
}

func (s *slowThrottle) Take() time.Duration {
	time.Sleep(time.Duration(s.takes.Load()))
	return 0
}

func TestABatchIsTakenOnlyIfItMayStillLeaveOnceThereIsAToken(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		throttle := &slowThrottle{}
		r := newRig(t, func(o *Options) { o.Throttle = throttle })
		stop := r.run()
		defer stop()
		r.produce(0, "c1", true, time.Now(), "u1")
		r.settled()
		r.kafka.setFaults(simKafkaFaults{commitLost: 1})
		throttle.takes.Store(int64(time.Minute)) // The lease runs out meanwhile.
		r.produce(0, "c1", true, time.Now(), "u2")
		time.Sleep(2 * time.Minute)
		r.shows("while no commit is accepted", map[string]float64{"batch_size_count": 1})
		throttle.takes.Store(0)
		r.kafka.setFaults(simKafkaFaults{})
		r.settled()
		r.shows("after that", map[string]float64{"batch_size_count": 2})
	})
}

// countingThrottle counts those who wait for a token.
type countingThrottle struct {
	openThrottle
	waits int
}

func (c *countingThrottle) Wait(ctx context.Context) error {
	c.waits++
	return ctx.Err()
}

// The first request has the token that the dispatcher took.
func TestEachPartOfADividedBatchTakesATokenOfItsOwn(t *testing.T) {
	t.Parallel()
	throttle := &countingThrottle{}
	r := newRig(t, func(o *Options) { o.Throttle = throttle })
	g := &generation{t: r.target, lease: newLease(simTiming(), time.Second, time.Now())}
	g.lease.renew(time.Now())
	admit := g.admission(t.Context(), &flight{})
	for n := range 3 {
		if err := admit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if throttle.waits != n {
			t.Errorf("%d tokens were waited for by request %d", throttle.waits, n+1)
		}
	}
}
