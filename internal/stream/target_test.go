package stream

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"

	"cohortsync/internal/braze"
	"cohortsync/internal/catalog"
)

func TestChangesArriveInOneBatchAfterTheLinger(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		stop := r.run()
		defer stop()
		began := time.Now()
		r.produce(0, "c1", true, began, "u1")
		r.produce(0, "c1", false, began, "u2")
		r.settled()
		sent := r.braze.sent()
		if len(sent) != 1 || users(sent[0].Batch) != "+u1 -u2" || sent[0].CohortID != "c1" {
			t.Fatalf("sent %v", sent)
		}
		if waited := sent[0].at.Sub(began); waited < time.Second || waited > 1100*time.Millisecond {
			t.Errorf("the batch left after %v, not after the linger", waited)
		}
		if len(r.braze.named()) != 1 || r.braze.named()[0].Name != "Name of c1" {
			t.Errorf("named %v", r.braze.named())
		}
	})
}

func TestTheNewestChangeWins(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		now := time.Now()
		r.produce(0, "c1", true, now, "u1")
		r.produce(0, "c1", false, now.Add(time.Second), "u1")
		r.produce(0, "c1", true, now.Add(-time.Second), "u1")
		stop := r.run()
		defer stop()
		r.settled()
		if sent := r.braze.sent(); len(sent) != 1 || users(sent[0].Batch) != "-u1" {
			t.Fatalf("sent %v", sent)
		}
		if f := r.funnel(); f.consumed != 3 || f.superseded != 2 || f.delivered != 1 {
			t.Errorf("the funnel is %+v", f)
		}

		// Later still, but computed earlier: the feed remembers better.
		r.produce(0, "c1", true, now, "u1")
		r.settled()
		if f := r.funnel(); f.stale != 1 || len(r.braze.sent()) != 1 {
			t.Errorf("a late change was sent: %+v", f)
		}
	})
}

// The linger counts from the change that began to wait, not from the last one
// that took its place.
func TestAUserWhoChangesAllTheTimeIsSentAllTheSame(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		stop := r.run()
		defer stop()
		for i := range 40 {
			r.produce(0, "c1", i%2 == 0, time.Now(), "u1")
			time.Sleep(250 * time.Millisecond)
		}
		if n := len(r.braze.sent()); n < 7 || n > 10 {
			t.Errorf("%d batches in ten seconds with a linger of one", n)
		}
		r.settled()
	})
}

func TestALateChangeIsStaleOnlyWithinTheWindow(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		stop := r.run()
		defer stop()
		now := time.Now()
		r.produce(0, "c1", true, now, "u1")
		r.settled()
		time.Sleep(r.options.LateWindow + 5*time.Second)
		r.produce(0, "c1", false, now.Add(-time.Second), "u1")
		r.settled()
		if f := r.funnel(); f.delivered != 2 || f.stale != 0 {
			t.Errorf("the funnel is %+v", f)
		}
	})
}

func TestWhatCannotBeMappedIsSkippedByReason(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		stop := r.run()
		defer stop()
		r.produce(0, "nobody syncs this", true, time.Now(), "u1", "u2")
		r.kafka.produce(0, []byte(`{"cohort_id":"c1","in_cohort":true,"users":[{},{"user_id":""},{"user_id":"ok"}]}`))
		r.kafka.produce(0, []byte{})
		r.settled()
		f := r.funnel()
		if f.skipped[reasonUnsynced] != 2 || f.skipped["no_identifier"] != 1 || f.skipped["empty"] != 1 || f.delivered != 1 || f.consumed != 5 {
			t.Errorf("the funnel is %+v", f)
		}
	})
}

func TestARenamedCohortIsNamedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		stop := r.run()
		defer stop()
		now := time.Now()
		send := func(name string, at time.Time) {
			r.kafka.produce(0, fmt.Appendf(nil, `{"cohort_id":"c1","cohort_name":%q,"in_cohort":true,"computed_time":%d,"users":[]}`, name, at.Unix()))
			r.settled()
			time.Sleep(5 * time.Second)
		}
		r.produce(0, "c1", true, now, "u1")
		r.settled()
		send("A new name", now.Add(2*time.Second))
		send("An older name", now.Add(time.Second))
		send("", now.Add(3*time.Second))
		send("A new name", now.Add(10*time.Second))
		send("A name from before that", now.Add(9*time.Second))
		var names []string
		for _, n := range r.braze.named() {
			names = append(names, n.Name)
		}
		if got := strings.Join(names, ", "); got != "Name of c1, A new name" {
			t.Errorf("named %s", got)
		}
	})
}

func TestACohortIsNotNamedBeforeItHasMembers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		stop := r.run()
		defer stop()
		r.produce(0, "c1", true, time.Now())
		r.settled()
		time.Sleep(time.Minute)
		if n := len(r.braze.named()); n != 0 {
			t.Errorf("named %d times without a member", n)
		}
		r.produce(0, "c1", true, time.Now(), "u1")
		r.settled()
		if n := len(r.braze.named()); n != 1 {
			t.Errorf("named %d times for its first member", n)
		}
	})
}

func TestACohortWithoutANameIsNamedByItsIDAsOfItsFirstMembers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		stop := r.run()
		defer stop()
		at := time.Now().Add(time.Minute)
		r.kafka.produce(0, fmt.Appendf(nil, `{"cohort_id":"c1","in_cohort":true,"computed_time":%d,"users":[{"user_id":"u1"}]}`, at.Unix()))
		r.settled()
		want := braze.Naming{CohortID: "c1", Name: "c1", CreatedAt: at.UTC().Truncate(time.Second)}
		if len(r.braze.named()) != 1 || r.braze.named()[0] != want {
			t.Errorf("named %v, want %v", r.braze.named(), want)
		}
	})
}

// TestANamingRequestIsOfTheMomentItLeft has the feed learn of a newer name
// between the launch of the request and its sending.
func TestANamingRequestIsOfTheMomentItLeft(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	g := &generation{t: r.target, schedule: newSchedule(3), lease: newLease(simTiming(), time.Second, time.Now())}
	g.lease.renew(time.Now())
	c := cohortWithQueue("c1", 0, 1)
	c.named, c.feed = "", &feed{g: g}
	c.turn.cohorts = []*cohort{c}
	first := time.Now().UTC().Truncate(time.Microsecond)
	c.callIt([]byte("First"), &change{time: first.UnixMicro()})

	f := g.launch(c, time.Now())
	c.callIt([]byte("Second"), &change{time: first.Add(time.Hour).UnixMicro()})
	g.send(t.Context(), t.Context(), f)

	want := braze.Naming{CohortID: "c1", Name: "First", CreatedAt: first}
	if len(r.braze.named()) != 1 || r.braze.named()[0] != want {
		t.Errorf("named %v, want %v", r.braze.named(), want)
	}
	if !c.needsNaming() {
		t.Error("Braze is not told of the second name")
	}
}

func TestAFailedBatchCoalescesWithWhatComesMeanwhile(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.braze.script(failing(braze.Unreachable, 503))
		stop := r.run()
		defer stop()
		now := time.Now()
		r.produce(0, "c1", true, now, "u1", "u2")
		time.Sleep(10 * time.Second)
		r.produce(0, "c1", false, now.Add(time.Second), "u1")
		time.Sleep(time.Second)
		r.braze.script(nil)
		r.settled()
		sent := r.braze.sent()
		if last := users(sent[len(sent)-1].Batch); last != "-u1 +u2" {
			t.Errorf("the last batch is %s", last)
		}
		if f := r.funnel(); f.superseded != 1 || f.delivered != 2 {
			t.Errorf("the funnel is %+v", f)
		}
	})
}

func TestAPartlyDeliveredBatchDoesNotPutTheCohortOffFurther(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(o *Options) {
			// A backoff without jitter: 1s, 2s, 4s and so on.
			o.NewBackOff = func() backoff.BackOff {
				return backoff.NewExponentialBackOff(backoff.WithInitialInterval(time.Second), backoff.WithMultiplier(2),
					backoff.WithRandomizationFactor(0), backoff.WithMaxElapsedTime(0))
			}
		})
		// Each request delivers one change and fails for the rest.
		r.braze.script(func(ctx context.Context, b braze.Batch) braze.Report {
			report := failing(braze.Unreachable, 503)(ctx, b)
			report.Outcomes[0] = braze.Delivered
			if len(b.Items) == 1 {
				report.Err = nil
			}
			return report
		})
		stop := r.run()
		defer stop()
		r.produce(0, "c1", true, time.Now(), "u1", "u2", "u3")
		r.settled()
		sent := r.braze.sent()
		for i := 1; i < len(sent); i++ {
			if gap := sent[i].at.Sub(sent[i-1].at); gap > 1100*time.Millisecond {
				t.Errorf("attempt %d came %v after the one before", i+1, gap)
			}
		}
	})
}

func TestNothingIsSentWithoutALease(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		stop := r.run()
		defer stop()
		time.Sleep(5 * time.Second)
		r.kafka.setFaults(simKafkaFaults{commitLost: 1})
		lost := time.Now()
		for range 60 {
			r.produce(0, "c1", true, time.Now(), "u1")
			time.Sleep(time.Second)
		}
		for _, b := range r.braze.sent() {
			if after := b.at.Sub(lost); after > 12*time.Second {
				t.Errorf("a batch left %v after commits stopped working, past the lease of 12s", after)
			}
		}
		r.kafka.setFaults(simKafkaFaults{})
		r.settled()
	})
}

func TestARevokedGenerationFinishesItsRequestsAndCommitsThem(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.braze.script(func(ctx context.Context, b braze.Batch) braze.Report {
			pause(ctx, 10*time.Second)
			return blaming()(ctx, b)
		})
		stop := r.run()
		r.produce(0, "c1", true, time.Now(), "u1")
		time.Sleep(5 * time.Second)
		if len(r.braze.sent()) != 1 {
			t.Fatal("nothing is in flight")
		}
		r.produce(0, "c1", true, time.Now(), "u2")
		began := time.Now()
		stop()
		if took := time.Since(began); took > r.options.Timing.DrainTimeout {
			t.Errorf("the drain took %v", took)
		}
		f := r.funnel()
		if f.delivered != 1 || len(r.braze.sent()) != 1 {
			t.Errorf("after the drain: %+v, %d requests", f, len(r.braze.sent()))
		}
		if got := r.kafka.committed()[0]; got < 1 {
			t.Errorf("committed %d, not past the delivered change", got)
		}
		r.audit()
	})
}

func TestOneCohortHasOneRequestInFlightAcrossPartitions(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		flying, worst := 0, 0
		r.braze.script(func(ctx context.Context, b braze.Batch) braze.Report {
			r.braze.mu.Lock()
			flying++
			worst = max(worst, flying)
			r.braze.mu.Unlock()
			pause(ctx, 3*time.Second)
			r.braze.mu.Lock()
			flying--
			r.braze.mu.Unlock()
			return blaming()(ctx, b)
		})
		stop := r.run()
		defer stop()
		for i := range 8 {
			r.produce(i%2, "c1", true, time.Now(), fmt.Sprintf("u%d", i))
			time.Sleep(time.Second)
		}
		r.settled()
		if worst != 1 {
			t.Errorf("%d requests of one cohort were in flight at once", worst)
		}
		if logs := r.logs.String(); strings.Count(logs, "in two partitions") != 1 {
			t.Errorf("the split cohort was not told once:\n%s", logs)
		}
	})
}

// Namings and batches count alike: both are requests that Braze works on.
func TestNoMoreRequestsThanMaxInFlightAreUnderWay(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const most, cohorts = 3, 10
		r := newRig(t, func(o *Options) {
			o.Target.MaxInFlight = most
			o.Routes = catalog.NewRoutes("Rig", []catalog.Sync{{Name: "all", CohortID: catalog.Wildcard, Target: "Rig"}})
		})
		var flying, worst atomic.Int64
		slowly := func() {
			n := flying.Add(1)
			worst.Store(max(worst.Load(), n))
			time.Sleep(3 * time.Second)
			flying.Add(-1)
		}
		r.braze.name = func(braze.Naming) error {
			slowly()
			return nil
		}
		r.braze.script(func(ctx context.Context, b braze.Batch) braze.Report {
			slowly()
			return blaming()(ctx, b)
		})
		stop := r.run()
		defer stop()
		began := time.Now()
		for i := range cohorts {
			r.produce(i%2, fmt.Sprint("c", i), true, began, "u")
		}
		r.settled()
		if worst.Load() != most {
			t.Errorf("%d requests were under way at once, want %d", worst.Load(), most)
		}
		if n := len(r.braze.sent()); n != cohorts {
			t.Errorf("%d batches of %d cohorts", n, cohorts)
		}
	})
}

func TestMemoryStopsReadingWhileBrazeIsDown(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(o *Options) { o.MaxMemory = 64 << 10 })
		r.braze.script(failing(braze.Unreachable, 503))
		stop := r.run()
		defer stop()
		for i := range 2000 {
			r.produce(i%2, fmt.Sprintf("c%d", 1+i%2), true, time.Now(), fmt.Sprintf("user-%d", i))
		}
		for range 120 {
			time.Sleep(time.Second)
			r.audit()
		}
		if p := r.target.Status().Pending; p == 0 || p > 400 {
			t.Errorf("%d changes are pending within 64 KiB", p)
		}
		r.braze.script(nil)
		r.settled()
		if f := r.funnel(); f.delivered != 2000 {
			t.Errorf("the funnel is %+v", f)
		}
	})
}
