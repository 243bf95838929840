package stream

import (
	"context"
	"fmt"
	"testing"
	"time"

	"cohortsync/internal/braze"
)

func TestTheDrainIsTimedFromTheGenerationsEndToItsLastCommit(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.braze.script(answeringAfter(10*time.Second, blaming()))
		stop := r.run()
		r.produce(0, "c1", true, time.Now(), "u1")
		time.Sleep(5 * time.Second)
		r.shows("before the end", map[string]float64{"drain_duration_seconds_count": 0, "requests_in_flight": 1})
		began := time.Now()
		stop()
		took := time.Since(began)
		r.shows("after the end", map[string]float64{"drain_duration_seconds_count": 1, "drain_duration_seconds_sum": took.Seconds()})
		if took < time.Second {
			t.Fatalf("the request in flight was not waited for: %v", took)
		}
	})
}

func TestTimeUnderTheThrottleIsCounted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		throttle := &heldThrottle{}
		r := newRig(t, func(o *Options) { o.Throttle = throttle })
		stop := r.run()
		defer stop()
		time.Sleep(time.Minute)
		r.shows("with nothing to send", map[string]float64{"throttle_wait_seconds_total": 0})
		// The naming and the batch wait for the same time to pass.
		throttle.until = time.Now().Add(35 * time.Second)
		r.produce(0, "c1", true, time.Now(), "u1")
		r.settled()
		waited := throttle.until.Sub(throttle.asked)
		r.shows("after a hold", map[string]float64{"throttle_wait_seconds_total": waited.Seconds()})
		if waited < 30*time.Second {
			t.Fatalf("the throttle held for %v only", waited)
		}
		time.Sleep(time.Minute)
		r.shows("later", map[string]float64{"throttle_wait_seconds_total": waited.Seconds()})
	})
}

// heldThrottle lets nothing through until then, and notes when it was first
// asked. It belongs to one dispatcher.
type heldThrottle struct {
	openThrottle
	until, asked time.Time
}

func (h *heldThrottle) Take() time.Duration {
	if h.asked.IsZero() {
		h.asked = time.Now()
	}
	return max(0, time.Until(h.until))
}

func TestFailuresOfKafkaAreCounted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		letters := &flakyLetters{}
		r := newRig(t, func(o *Options) { letters.Letters, o.Letters = o.Letters, letters })
		r.braze.script(blaming("bad"))
		stop := r.run()
		defer stop()
		time.Sleep(10*time.Second + 500*time.Millisecond)
		none := map[string]float64{
			"commits_total": 11, "commit_failures_total": 0, "fetch_failures_total": 0,
			"dead_letter_failures_total": 0, "dead_letters_total{stage=decode}": 0, "dead_letters_total{stage=deliver}": 0,
		}
		r.shows("while all is well", none)

		r.kafka.setFaults(simKafkaFaults{commitLost: 1})
		time.Sleep(5 * time.Second)
		r.kafka.setFaults(simKafkaFaults{})
		time.Sleep(5 * time.Second)
		r.shows("after five commits that failed", map[string]float64{"commits_total": 21, "commit_failures_total": 5})

		letters.failures = 3
		r.produce(0, "c1", true, time.Now(), "bad")
		r.settled()
		r.shows("after a letter", map[string]float64{
			"dead_letter_failures_total": 3, "dead_letters_total{stage=decode}": 0, "dead_letters_total{stage=deliver}": 1,
		})
		letters.failures = 2
		r.kafka.produce(1, []byte("not json"))
		r.settled()
		r.shows("after another", map[string]float64{
			"dead_letter_failures_total": 5, "dead_letters_total{stage=decode}": 1, "dead_letters_total{stage=deliver}": 1,
		})

		r.kafka.setFaults(simKafkaFaults{fetch: 1})
		time.Sleep(time.Minute)
		r.kafka.setFaults(simKafkaFaults{})
		if n := r.gather()["fetch_failures_total"]; n < 4 {
			t.Errorf("%v fetches have failed in a minute", n)
		}
	})
}

// flakyLetters fails as often as it is told to. One letter is written at a
// time.
type flakyLetters struct {
	Letters
	failures int
}

func (l *flakyLetters) Write(ctx context.Context, letter Letter) error {
	if l.failures > 0 {
		l.failures--
		return errSim
	}
	return l.Letters.Write(ctx, letter)
}

// No two ways out of the funnel have the same number, so that none can stand
// for another.
func TestEveryWayOutOfTheFunnelHasItsCounter(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newMetricsRig(t, nil)
		r.braze.script(blaming("bad1", "bad2"))
		now := time.Now()
		for i := range 3 { // Each supersedes the one before.
			r.produce(0, "c1", i%2 == 0, now.Add(time.Duration(i)*time.Second), "u1")
		}
		r.produce(0, "c1", true, now, "u2", "u3", "u4", "u5", "bad1", "bad2")
		r.produce(0, "not synced", true, now, "u1", "u2", "u3", "u4", "u5", "u6", "u7")
		r.kafka.produce(0, []byte(`{"cohort_id":"c1","in_cohort":true,"users":[{},{},{},{"user_id":""}]}`))
		r.kafka.produce(0, nil)
		stop := r.run()
		defer stop()
		r.settled()
		for i := range 4 { // Older than what is settled.
			r.produce(0, "c1", true, now.Add(-time.Duration(i+1)*time.Minute), "u2")
		}
		r.settled()
		r.braze.script(failing(braze.Busy, 423))
		var pending []string
		for i := range 9 {
			pending = append(pending, fmt.Sprint("p", i))
		}
		r.produce(1, "c2", true, now, pending...)
		time.Sleep(5 * time.Minute)
		stop()
		r.shows("in the end", map[string]float64{
			"changes_delivered_total": 5, "changes_superseded_total": 2, "changes_stale_total": 4, "changes_dead_lettered_total": 2,
			"changes_skipped_total{reason=unsynced_cohort}": 7, "changes_skipped_total{reason=no_identifier}": 3,
			"changes_skipped_total{reason=empty}": 1, "changes_released_total": 9, "changes_pending": 0,
			"changes_consumed_total": 5 + 2 + 4 + 2 + 7 + 3 + 1 + 9,
			"records_total":          12, "records_empty_total": 1, "users_total": 33,
		})
	})
}

func TestBatchesAreCountedByWhyTheyLeft(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		stop := r.run()
		defer stop()
		r.produce(0, "c1", true, time.Now(), "u1", "u2", "u3", "u4", "u5", "u6", "u7")
		r.settled()
		r.shows("after seven changes", map[string]float64{
			"batches_total{reason=full}": 2, "batches_total{reason=linger}": 1, "batches_total{reason=retry}": 0,
			"batch_size_count": 3, "batch_size_sum": 7,
		})
		failures := 2
		r.braze.script(func(ctx context.Context, b braze.Batch) braze.Report {
			if failures--; failures >= 0 {
				return failing(braze.Busy, 423)(ctx, b)
			}
			return blaming()(ctx, b)
		})
		r.produce(0, "c1", false, time.Now(), "u1", "u2")
		r.settled()
		r.shows("after two failures", map[string]float64{
			"batches_total{reason=full}": 2, "batches_total{reason=linger}": 2, "batches_total{reason=retry}": 2,
			"batch_size_count": 6, "batch_size_sum": 13, "retries_total{class=busy}": 2, "retries_total{class=unreachable}": 0,
		})
	})
}
