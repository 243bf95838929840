package stream

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"cohortsync/internal/catalog"
)

func cohortWithQueue(id string, linger time.Duration, arrived ...int64) *cohort {
	c := &cohort{id: id, named: id, sync: &catalog.Sync{Linger: linger}, turn: &turn{most: 1}}
	newStore().join(c)
	for _, at := range arrived {
		queueUp(c, at)
	}
	return c
}

// queueUp has one more identifier wait in the cohort.
func queueUp(c *cohort, arrived int64) {
	key := fmt.Append(nil, c.store.unused)
	r := c.store.add(c, key, c.store.hash(key))
	e := c.store.at(r)
	e.arrived, e.waiting = arrived, true
	c.store.pushBack(&c.queue, r)
}

// TestTheScheduleAgreesWithASearch compares the two heaps with looking at
// every cohort.
func TestTheScheduleAgreesWithASearch(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const maxBatch = 3
		s := newSchedule(maxBatch)
		cohorts := make([]*cohort, 5)
		for i := range cohorts {
			cohorts[i] = cohortWithQueue(fmt.Sprint(i), time.Duration(rapid.IntRange(0, 10).Draw(t, "linger")))
		}
		now := int64(100)
		pick := rapid.IntRange(0, len(cohorts)-1)
		t.Repeat(map[string]func(*rapid.T){
			"arrive": func(t *rapid.T) {
				c := cohorts[pick.Draw(t, "which")]
				queueUp(c, now)
				s.update(c, now)
			},
			"send": func(t *rapid.T) {
				c := cohorts[pick.Draw(t, "which")]
				if c.queue.length > 0 {
					c.store.unlink(&c.queue, c.queue.front)
					c.sent = now
					c.turn.inFlight = rapid.IntRange(0, 1).Draw(t, "in flight")
				}
				s.update(c, now)
			},
			"free": func(t *rapid.T) {
				c := cohorts[pick.Draw(t, "which")]
				c.turn.inFlight = 0
				s.update(c, now)
			},
			"hold back": func(t *rapid.T) {
				c := cohorts[pick.Draw(t, "which")]
				c.notBefore = now + rapid.Int64Range(-5, 20).Draw(t, "for")
				s.update(c, now)
			},
			"wait": func(t *rapid.T) { now += rapid.Int64Range(1, 10).Draw(t, "for") },
			"": func(t *rapid.T) {
				var best, soonest int64 = -1, -1
				for _, c := range cohorts {
					at, deadline, ok := c.due(maxBatch)
					switch {
					case !ok:
					case at <= now && (best < 0 || deadline < best):
						best = deadline
					case at > now && (soonest < 0 || at < soonest):
						soonest = at
					}
				}
				c, at := s.next(now)
				switch {
				case best >= 0 && (c == nil || c.slot.deadline != best):
					t.Fatalf("next is %+v, want one with deadline %d", c, best)
				case best < 0 && c != nil:
					t.Fatalf("next is %s although none is due", c.id)
				case best < 0 && soonest >= 0 && at != soonest:
					t.Fatalf("look again at %d, want %d", at, soonest)
				}
			},
		})
	})
}

func TestABatchLeavesWhenFullOrLingered(t *testing.T) {
	t.Parallel()
	const linger = 10
	tests := map[string]struct {
		arrived []int64
		want    int64
		reason  string
	}{
		"one change lingers":             {[]int64{100}, 110, leftLinger},
		"the oldest counts":              {[]int64{100, 105}, 110, leftLinger},
		"a full batch leaves at once":    {[]int64{100, 105, 106}, 100, leftFull},
		"more than a batch is no longer": {[]int64{100, 105, 106, 107}, 100, leftFull},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := cohortWithQueue("c", linger, tt.arrived...)
			at, _, ok := c.due(3)
			if !ok || at != tt.want {
				t.Errorf("due at %d, %v; want %d", at, ok, tt.want)
			}
			if got := c.leaves(3); got != tt.reason {
				t.Errorf("leaves for %q, want %q", got, tt.reason)
			}
		})
	}
}

// TestALargeCohortDoesNotStarveASmallOne sends by the schedule alone: ten
// thousand changes that came first, ten that came a little later.
func TestALargeCohortDoesNotStarveASmallOne(t *testing.T) {
	t.Parallel()
	const maxBatch = 100
	s := newSchedule(maxBatch)
	large := cohortWithQueue("large", 0, make([]int64, 10_000)...)
	small := cohortWithQueue("small", 0, 5, 5, 5)
	s.update(large, 0)
	s.update(small, 0)
	now := int64(10)
	for sent := 0; ; sent++ {
		c, _ := s.next(now)
		if c == small {
			if sent > 2 {
				t.Errorf("the small cohort waited for %d batches of the large one", sent)
			}
			return
		}
		for range min(maxBatch, c.queue.length) {
			c.store.unlink(&c.queue, c.queue.front)
		}
		c.sent = now
		s.update(c, now)
		now++
	}
}

// The place of a cohort in the schedule counts from its last request.
func TestALaunchPutsItsCohortBehindThoseThatWaitForLonger(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	g := &generation{t: r.target, schedule: newSchedule(2)}
	large, small := cohortWithQueue("large", 0, 1, 1, 1, 1), cohortWithQueue("small", 0, 5)
	for _, c := range []*cohort{large, small} {
		c.turn.cohorts = []*cohort{c}
		g.reschedule(c, 10)
	}
	var order []string
	for i := range 3 {
		c, _ := g.schedule.next(10)
		f := g.launch(c, r.target.born.Add(time.Duration(9+i)))
		f.cohort.turn.inFlight--
		g.reschedule(f.cohort, 10)
		order = append(order, c.id)
	}
	if got := strings.Join(order, " "); got != "large small large" {
		t.Errorf("they left in the order %s", got)
	}
}
