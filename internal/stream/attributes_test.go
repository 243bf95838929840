package stream

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"cohortsync/internal/braze"
	"cohortsync/internal/catalog"
)

// onAttributes makes a rig's target one of the attributes API.
func onAttributes(o *Options) {
	o.Target.API, o.Target.Attribute, o.Target.ReorderGuard = catalog.Attributes, "cohort_{cohort_id}", time.Second
	o.Namer = nil
}

func TestOnAttributesACohortIsNotNamedAndHasAnAttribute(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, onAttributes)
		stop := r.run()
		defer stop()
		r.produce(0, "c1", true, time.Now(), "u1")
		r.settled()
		if len(r.braze.named()) != 0 {
			t.Errorf("named %v", r.braze.named())
		}
		if sent := r.braze.sent(); len(sent) != 1 || sent[0].Attribute != "cohort_c1" {
			t.Errorf("sent %+v", sent)
		}
	})
}

func TestOnAttributesRequestsOfOneCohortOverlapButNoUserDoes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, onAttributes)
		flying, worst := map[string]int{}, 0
		r.braze.script(func(ctx context.Context, b braze.Batch) braze.Report {
			r.braze.mu.Lock()
			most := 0
			for _, it := range b.Items {
				flying[it.Identifier.Value]++
				if flying[it.Identifier.Value] > 1 {
					t.Errorf("%s is twice in flight", it.Identifier.Value)
				}
			}
			for _, n := range flying {
				most += n
			}
			worst = max(worst, most)
			r.braze.mu.Unlock()
			pause(ctx, 3*time.Second)
			r.braze.mu.Lock()
			for _, it := range b.Items {
				flying[it.Identifier.Value]--
			}
			r.braze.mu.Unlock()
			return blaming()(ctx, b)
		})
		stop := r.run()
		defer stop()
		for i := range 30 {
			r.produce(0, "c1", i%2 == 0, time.Now(), fmt.Sprintf("u%d", i%12))
			time.Sleep(100 * time.Millisecond)
		}
		r.settled()
		if worst <= r.options.Target.MaxBatch {
			t.Errorf("at most %d users were in flight, no more than one request of %d", worst, r.options.Target.MaxBatch)
		}
	})
}

func TestAUserRestsForTheReorderGuardAfterEveryAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(o *Options) {
			onAttributes(o)
			o.Target.ReorderGuard = 10 * time.Second
		})
		var answers atomic.Int64
		r.braze.script(func(ctx context.Context, b braze.Batch) braze.Report {
			if answers.Add(1)%2 == 0 {
				return failing(braze.Unreachable, 503)(ctx, b)
			}
			return blaming()(ctx, b)
		})
		stop := r.run()
		defer stop()
		for i := range 40 {
			r.produce(0, "c1", i%2 == 0, time.Now(), "u1")
			time.Sleep(time.Second)
			r.audit()
		}
		r.settled()
		sent := r.braze.sent()
		for i := 1; i < len(sent); i++ {
			if rest := sent[i].at.Sub(sent[i-1].at); rest < 10*time.Second {
				t.Errorf("request %d left %v after an answer about its user", i, rest)
			}
		}
		if last := sent[len(sent)-1]; len(sent) < 4 || users(last.Batch) != "-u1" {
			t.Errorf("%d requests, the last %s", len(sent), users(last.Batch))
		}
	})
}

// Those who rest are settled, so that nothing else stops the feed from taking in
// more and more of them.
func TestUsersWhoRestStayWithinMemory(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(o *Options) {
			onAttributes(o)
			o.MaxMemory = 64 << 10
			o.Target.ReorderGuard = time.Minute
		})
		stop := r.run()
		defer stop()
		for i := range 2000 {
			r.produce(i%2, fmt.Sprintf("c%d", 1+i%2), true, time.Now(), fmt.Sprintf("user-%d", i))
		}
		for range 50 {
			time.Sleep(time.Second)
			r.audit()
		}
		r.settled()
		if f := r.funnel(); f.delivered != 2000 {
			t.Errorf("the funnel is %+v", f)
		}
	})
}

func TestAUserWhoHasRestedIsSentAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const guard = 3 * time.Second
		r := newRig(t, func(o *Options) {
			onAttributes(o)
			o.Target.ReorderGuard = guard
		})
		stop := r.run()
		defer stop()
		r.produce(0, "c1", true, time.Now(), "u1")
		for len(r.braze.sent()) == 0 {
			time.Sleep(time.Millisecond)
		}
		r.produce(0, "c1", false, time.Now(), "u1")
		r.settled()
		sent := r.braze.sent()
		if rest := sent[1].at.Sub(sent[0].at); rest != guard {
			t.Errorf("sent after %v, want %v", rest, guard)
		}
	})
}

// The last owner may have had an answer the moment before it went.
func TestANewOwnerRestsForTheReorderGuardFirst(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(o *Options) {
			onAttributes(o)
			o.Target.ReorderGuard = 10 * time.Second
			o.Routes = catalog.NewRoutes("Rig", []catalog.Sync{{Name: "one", CohortID: "c1", Target: "Rig"}})
		})
		r.produce(0, "c1", true, time.Now(), "u1")
		began := time.Now()
		stop := r.run()
		defer stop()
		r.settled()
		if after := r.braze.sent()[0].at.Sub(began); after < 10*time.Second {
			t.Errorf("the first request left after %v", after)
		}
	})
}

func TestWhileAUserRestsOlderChangesAreStaleAndNewerOnesWait(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(o *Options) {
			onAttributes(o)
			o.Target.ReorderGuard = time.Minute
		})
		time.Sleep(24 * time.Hour) // No computed_time before the year 2000 is believed.
		stop := r.run()
		defer stop()
		now := time.Now()
		r.produce(0, "c1", true, now, "u1")
		for len(r.braze.sent()) == 0 {
			time.Sleep(time.Second)
		}
		r.produce(0, "c1", false, now.Add(-time.Minute), "u1")
		time.Sleep(5 * time.Second)
		if f := r.funnel(); f.stale != 1 {
			t.Errorf("the funnel is %+v", f)
		}
		r.produce(0, "c1", false, now.Add(time.Second), "u1")
		time.Sleep(5 * time.Second)
		if n := len(r.braze.sent()); n != 1 {
			t.Errorf("%d requests before the guard was over", n)
		}
		r.settled()
		if sent := r.braze.sent(); len(sent) != 2 || users(sent[1].Batch) != "-u1" {
			t.Errorf("sent %+v", sent)
		}
	})
}

func TestTheProbeIsTheRefusedRequestAlthoughItsUsersRest(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(o *Options) {
			onAttributes(o)
			o.Target.ReorderGuard = 5 * time.Second
		})
		r.braze.script(func(ctx context.Context, b braze.Batch) braze.Report {
			if b.CohortID == "c1" {
				return failing(braze.Refused, 401)(ctx, b)
			}
			return blaming()(ctx, b)
		})
		stop := r.run()
		defer stop()
		r.produce(0, "c1", true, time.Now(), "u1")
		time.Sleep(10 * time.Second)
		r.produce(0, "c2", true, time.Now(), "u2")
		time.Sleep(5 * time.Minute)
		for _, b := range r.braze.sent() {
			if b.CohortID == "c2" {
				t.Errorf("a locked target sent %s", users(b.Batch))
			}
		}
		r.braze.script(nil)
		r.settled()
	})
}

// A request that was under way when another one was refused says nothing about
// what was refused.
func TestOnlyTheProbeUnlocks(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, onAttributes)
		r.braze.script(func(ctx context.Context, b braze.Batch) braze.Report {
			if b.Items[0].Identifier.Value == "slow" {
				pause(ctx, 10*time.Second)
				return blaming()(ctx, b)
			}
			return failing(braze.Refused, 401)(ctx, b)
		})
		stop := r.run()
		defer stop()
		r.produce(0, "c1", true, time.Now(), "slow", "s2", "s3")
		for len(r.braze.sent()) == 0 {
			time.Sleep(100 * time.Millisecond)
		}
		r.produce(0, "c1", true, time.Now(), "fast", "f2", "f3")
		time.Sleep(30 * time.Second)
		if s := r.target.Status(); len(s.Locked) != 1 {
			t.Errorf("unlocked by a request that had left before: %+v", s)
		}
		if n := strings.Count(r.logs.String(), "is locked"); n != 1 {
			t.Errorf("locked %d times", n)
		}
		r.braze.script(nil)
		r.settled()
	})
}

func TestACohortWhoseAttributeMustNotBeWrittenIsSkipped(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(o *Options) {
			onAttributes(o)
			o.Target.Attribute = "{cohort_id}"
			o.Routes = catalog.NewRoutes("Rig", []catalog.Sync{{Name: "all", CohortID: catalog.Wildcard, Target: "Rig"}})
		})
		stop := r.run()
		defer stop()
		r.produce(0, "email", true, time.Now(), "u1", "u2")
		r.produce(0, "fine", true, time.Now(), "u1")
		r.settled()
		if f := r.funnel(); f.skipped[reasonBadAttribute] != 2 || f.delivered != 1 {
			t.Errorf("the funnel is %+v", f)
		}
		r.audit()
	})
}

func TestEntriesCoolDownInTheOrderOfTheirAnswers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q := cooling{guard: rapid.Int64Range(1, 20).Draw(t, "guard")}
		s, c := newStore(), &cohort{}
		s.join(c)
		type resting struct {
			entry ref
			until int64
		}
		var model []resting
		now := int64(1)
		t.Repeat(map[string]func(*rapid.T){
			"answer": func(*rapid.T) {
				key := fmt.Appendf(nil, "%d", len(model))
				r := s.add(c, key, s.hash(key))
				q.push(s, r, now)
				model = append(model, resting{r, now + q.guard})
			},
			"wait": func(t *rapid.T) { now += rapid.Int64Range(1, 15).Draw(t, "for") },
			"pop": func(t *rapid.T) {
				r := q.pop(s, now)
				if len(model) == 0 || model[0].until > now {
					if r != 0 {
						t.Fatal("popped before its time")
					}
					return
				}
				if r != model[0].entry {
					t.Fatalf("popped %d, want %d", r, model[0].entry)
				}
				model = model[1:]
			},
			"": func(t *rapid.T) {
				until := int64(0)
				if len(model) > 0 {
					until = model[0].until
				}
				if q.length != len(model) || q.next() != until {
					t.Fatalf("%d rest, the next until %d; want %d and %d", q.length, q.next(), len(model), until)
				}
			},
		})
	})
}

// A second's rest at a thousand requests a second must not take more memory from
// hour to hour.
func TestTheMomentsOfRestTakeNoMoreThanThoseThatLast(t *testing.T) {
	t.Parallel()
	q := cooling{guard: 100}
	s, c := newStore(), &cohort{}
	s.join(c)
	for now := range int64(100_000) {
		key := fmt.Appendf(nil, "%d", now)
		q.push(s, s.add(c, key, s.hash(key)), now)
		for r := q.pop(s, now); r != 0; r = q.pop(s, now) {
			s.remove(r)
		}
	}
	if cap(q.queue) > 1000 {
		t.Errorf("there is room for %d moments, and %d last", cap(q.queue), q.moments())
	}
}
