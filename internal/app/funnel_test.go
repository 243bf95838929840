package app_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"cohortsync/internal/braze/brazetest"
)

// leak returns by how much the funnel does not add up.
func (s sample) leak() float64 {
	out := s.sum("changes_pending")
	for _, way := range []string{"delivered", "superseded", "stale", "skipped", "dead_lettered", "released"} {
		out += s.sum("changes_" + way + "_total")
	}
	return s.sum("changes_consumed_total") - out
}

// busy makes records of all kinds, and returns how the members end up. Later
// records have later times, save those that come late.
func busy(rng *rand.Rand, n int) (records []*kgo.Record, members map[string]map[string]bool) {
	const began = 1_700_000_000
	members = make(map[string]map[string]bool)
	newest := make(map[string]int)
	for i := range n {
		cohort := fmt.Sprint("c", rng.IntN(4))
		in := rng.IntN(3) > 0
		at := began + i
		if rng.IntN(10) == 0 {
			at -= 50
		}
		value := fmt.Sprintf(`{"cohort_id":%q,"in_cohort":%t,"computed_time":%d,"users":[{"user_id":""}`, cohort, in, at)
		for range 1 + rng.IntN(20) {
			id := fmt.Sprint("u", rng.IntN(300))
			if rng.IntN(1_500) == 0 {
				id = "bad-" + id
			}
			value += fmt.Sprintf(`,{"user_id":%q}`, id)
			if key := cohort + id; at >= newest[key] {
				newest[key] = at
				if members[cohort] == nil {
					members[cohort] = make(map[string]bool)
				}
				members[cohort][id] = in && id[0] == 'u'
			}
		}
		records = append(records, &kgo.Record{Partition: int32(cohort[1]-'0') % 3, Key: []byte(cohort), Value: []byte(value + "]}")})
		if rng.IntN(100) == 0 {
			records = append(records, &kgo.Record{Value: []byte("not json")})
		}
	}
	return records, members
}

// scrape gathers a worker's metrics without a pause until it is told to stop,
// and returns the greatest leak.
func (w *worker) scrape(t *testing.T) (stop func() (worst sample, scrapes int)) {
	t.Helper()
	done := make(chan struct{})
	var loop sync.WaitGroup
	var worst sample
	scrapes := 0
	loop.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			s := w.gather(t)
			scrapes++
			if s.leak() != 0 && worst == nil {
				worst = s
			}
			runtime.Gosched()
		}
	})
	return func() (sample, int) {
		close(done)
		loop.Wait()
		return worst, scrapes
	}
}

func TestTheFunnelAddsUpAtEveryScrape(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 3)
	braze, url := startBraze(t, brazetest.Options{Bad: isBad})
	braze.SetFaults(brazetest.Faults{ServerError: .02, AppliedThenError: .02, Locked: .02, Reset: .02})
	first := startMain(t, cluster, target{endpoint: url})
	stopFirst := first.scrape(t)

	rng := rand.New(rand.NewPCG(7, 7))
	records, members := busy(rng, 2_000)
	client := connect(t, cluster)
	produce(t, client, records[:1_000]...)
	// A second worker takes some of the partitions over, and gives them back.
	second := startMain(t, cluster, target{endpoint: url})
	stopSecond := second.scrape(t)
	produce(t, client, records[1_000:]...)
	eventually(t, func() bool { return second.metric(t, "changes_consumed_total") > 0 }, "the second worker works, too")
	second.stop()
	second.wait(t)
	require.NoError(t, second.err)
	awaitCommitted(t, cluster, group)

	for name, stop := range map[string]func() (sample, int){"first": stopFirst, "second": stopSecond} {
		worst, scrapes := stop()
		require.Nil(t, worst, "%s worker: %v changes are unaccounted for in %v", name, worst.leak(), worst)
		require.Greater(t, scrapes, 10)
	}
	s := first.gather(t)
	require.Zero(t, s.sum("changes_pending"))
	for _, way := range []string{"delivered", "superseded", "skipped", "dead_lettered"} {
		require.Positive(t, s.sum("changes_"+way+"_total"), way)
	}
	for cohort, users := range members {
		got := braze.Members(cohort)
		for id, in := range users {
			require.Equal(t, in, got[user(id)], "%s in %s", id, cohort)
		}
	}
}
