package stream

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cohortsync/internal/braze"
)

func TestARefusedRequestLocksTheTargetUntilItPasses(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.braze.script(failing(braze.Refused, 401))
		stop := r.run()
		defer stop()
		r.produce(0, "c1", true, time.Now(), "u1")
		time.Sleep(5 * time.Second)
		r.produce(1, "c2", true, time.Now(), "u2")
		time.Sleep(10 * time.Minute)
		sent := r.braze.sent()
		for i, b := range sent {
			if b.CohortID != "c1" {
				t.Errorf("request %d of the locked target is about %s, not the refused one", i, b.CohortID)
			}
		}
		var gaps []time.Duration
		for i := 1; i < len(sent); i++ {
			gaps = append(gaps, sent[i].at.Sub(sent[i-1].at))
		}
		for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
			if gaps[i] != want*time.Second {
				t.Errorf("probe %d came after %v, want %v", i+1, gaps[i], want*time.Second)
			}
		}
		if s := r.target.Status(); len(s.Locked) != 1 || s.Locked[0] != lockRefused {
			t.Errorf("the status is %+v", s)
		}
		if r.kafka.drained() {
			t.Error("the offsets moved although the target is locked")
		}
		r.braze.script(nil)
		r.settled()
		if s := r.target.Status(); len(s.Locked) != 0 {
			t.Errorf("still locked: %+v", s)
		}
		if n := strings.Count(r.logs.String(), "the target is locked"); n != 1 {
			t.Errorf("the lock was logged %d times", n)
		}
	})
}

func TestALockOutlivesItsGeneration(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.braze.script(failing(braze.Refused, 403))
		stop := r.run()
		defer stop()
		r.produce(0, "c1", true, time.Now(), "u1")
		time.Sleep(5 * time.Minute)
		r.kafka.mu.Lock()
		r.kafka.prepare()
		r.kafka.mu.Unlock()
		time.Sleep(time.Minute)
		if s := r.target.Status(); len(s.Locked) != 1 {
			t.Errorf("a rebalance lifted the lock: %+v", s)
		}
		r.braze.script(nil)
		r.settled()
		if s := r.target.Status(); len(s.Locked) != 0 {
			t.Errorf("still locked: %+v", s)
		}
	})
}

// A probe that Braze answers with something else has shown nothing either.
func TestAProbeThatFailsOtherwiseIsPutOffToo(t *testing.T) {
	for _, class := range []braze.Class{braze.Busy, braze.Unreachable, braze.Unexpected, braze.Limited} {
		t.Run(class.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, nil)
				r.braze.script(failing(braze.Refused, 401))
				stop := r.run()
				defer stop()
				r.produce(0, "c1", true, time.Now(), "u1")
				time.Sleep(10 * time.Second)
				r.braze.script(failing(class, 0))
				before := len(r.braze.sent())
				time.Sleep(10 * time.Minute)
				if n := len(r.braze.sent()) - before; n < 9 || n > 16 {
					t.Errorf("%d probes in ten minutes", n)
				}
				r.braze.script(nil)
				r.settled()
			})
		})
	}
}

func TestTooManyFaultsLockTheTargetUntilARequestHasNone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(o *Options) { o.Target.MaxDeadLettersPerMinute = 2 })
		r.braze.script(blaming("b1", "b2", "b3"))
		stop := r.run()
		defer stop()
		r.produce(0, "c1", true, time.Now(), "b1", "b2", "b3")
		time.Sleep(10 * time.Minute)
		if s := r.target.Status(); len(s.Locked) != 1 || s.Locked[0] != lockDeadLetters {
			t.Errorf("the status is %+v", s)
		}
		if n := len(r.kafka.written()); n != 0 {
			t.Errorf("%d letters were written past the limit", n)
		}
		r.braze.script(nil)
		r.settled()
	})
}

func TestTooManyUndecodableRecordsStopReadingButNotSending(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(o *Options) { o.Target.MaxDeadLettersPerMinute = 2 })
		stop := r.run()
		r.produce(0, "c1", true, time.Now(), "u1")
		for range 3 {
			r.kafka.produce(0, []byte("not json"))
		}
		r.produce(1, "c2", true, time.Now(), "u2")
		time.Sleep(10 * time.Minute)
		if s := r.target.Status(); len(s.Locked) != 1 || s.Locked[0] != lockDeadLetters {
			t.Errorf("the status is %+v", s)
		}
		if n := len(r.kafka.written()); n != 2 {
			t.Errorf("%d letters were written, want 2", n)
		}
		if f := r.funnel(); f.delivered == 0 {
			t.Errorf("what had been read was not delivered: %+v", f)
		}
		before := r.funnel().consumed
		r.produce(1, "c2", true, time.Now(), "u3")
		time.Sleep(time.Minute)
		if f := r.funnel(); f.consumed != before {
			t.Errorf("reading goes on: %+v", f)
		}
		r.rebalance() // The next generation reads on, and the minute has room again.
		r.settled()
		if s := r.target.Status(); len(s.Locked) != 0 || len(r.kafka.written()) != 3 {
			t.Errorf("in the next generation the status is %+v after %d letters", s, len(r.kafka.written()))
		}
		stop()
	})
}

func TestOtherCohortsDoNotUnlock(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.braze.script(func(ctx context.Context, b braze.Batch) braze.Report {
			if b.CohortID == "c1" {
				return failing(braze.Invalid, 400)(ctx, b)
			}
			pause(ctx, 5*time.Second)
			return blaming()(ctx, b)
		})
		stop := r.run()
		defer stop()
		r.produce(1, "c2", true, time.Now(), "u2")
		r.produce(0, "c1", true, time.Now(), "u1")
		time.Sleep(time.Minute)
		if s := r.target.Status(); len(s.Locked) != 1 || s.Locked[0] != lockInvalid {
			t.Errorf("the status is %+v", s)
		}
	})
}

// Requests that were in flight when the target was locked are refused, too. They
// were no probes.
func TestOnlyARefusedProbePutsTheNextOneOff(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	probed, other := &cohort{id: "c1"}, &cohort{id: "c2"}
	refuse := func(c *cohort, clock time.Duration) *lock {
		r.target.refuse(c, false, lockRefused, int64(clock), errors.New("scripted"))
		return r.target.lock
	}
	refuse(probed, 0)
	if l := refuse(other, time.Millisecond); l.refused != probed || l.probeAt != int64(firstProbe) {
		t.Errorf("after another's refusal %s probes after %v", l.refused.id, time.Duration(l.probeAt))
	}
	if l := refuse(probed, firstProbe); l.refused != probed || l.probeAt != int64(3*firstProbe) {
		t.Errorf("after its own refusal %s probes after %v", l.refused.id, time.Duration(l.probeAt))
	}
}

func TestOnlyTheRefusedCohortUnlocks(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	refused, other := &cohort{id: "c1"}, &cohort{id: "c2"}
	r.target.refuse(refused, false, lockRefused, 0, errors.New("scripted"))
	if r.target.unlock(other, false); r.target.lock == nil {
		t.Fatal("another cohort's request unlocked the target")
	}
	if r.target.unlock(refused, false); r.target.lock != nil {
		t.Error("the refused cohort's request did not unlock the target")
	}
}

// A minute gone by makes room for letters, but shows nothing.
func TestFewerFaultsDoNotUnlockEither(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(o *Options) { o.Target.MaxDeadLettersPerMinute = 2 })
		r.braze.script(blaming("b1", "b2", "b3"))
		stop := r.run()
		defer stop()
		r.produce(0, "c1", true, time.Now(), "b1", "b2", "b3")
		time.Sleep(time.Minute)
		r.braze.script(blaming("b1"))
		time.Sleep(10 * time.Minute)
		if s := r.target.Status(); len(s.Locked) != 1 || len(r.kafka.written()) != 0 {
			t.Errorf("the status is %+v after %d letters", s, len(r.kafka.written()))
		}
		r.braze.script(nil)
		r.settled()
	})
}

// TestLetterBudgetHoldsOverAnyMinute checks the sliding window against a
// plain count.
func TestLetterBudgetHoldsOverAnyMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		budget := letterBudget{perMinute: 10}
		rng := rand.New(rand.NewPCG(1, 2))
		var spent []time.Time
		for range 2000 {
			time.Sleep(time.Duration(rng.IntN(int(10 * time.Second))))
			now, recent := time.Now(), 0
			for _, at := range spent {
				if now.Unix()-at.Unix() < 60 {
					recent++
				}
			}
			want := recent+1 <= 10
			if got := budget.spend(1, now); got != want {
				t.Fatalf("at %v with %d in the last minute: %v", now, recent, got)
			}
			if want {
				spent = append(spent, now)
			}
		}
	})
}
