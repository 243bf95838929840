package stream

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"cohortsync/internal/braze"
)

// gather returns every series of the rig by its name and labels, such as
// changes_skipped_total{reason=empty}, the prefix and the target cut. A
// histogram is its _count and its _sum.
func (r *rig) gather() map[string]float64 {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	all := make(map[string]float64)
	for _, family := range families {
		name := strings.TrimPrefix(family.GetName(), "cohortsync_")
		for _, m := range family.GetMetric() {
			labels := ""
			for _, l := range m.GetLabel() {
				if l.GetName() != "target" {
					labels += "{" + l.GetName() + "=" + l.GetValue() + "}"
				}
			}
			switch {
			case m.GetCounter() != nil:
				all[name+labels] = m.GetCounter().GetValue()
			case m.GetGauge() != nil:
				all[name+labels] = m.GetGauge().GetValue()
			case m.GetHistogram() != nil:
				all[name+"_count"+labels] = float64(m.GetHistogram().GetSampleCount())
				all[name+"_sum"+labels] = m.GetHistogram().GetSampleSum()
			}
		}
	}
	return all
}

// shows checks some series, to the microsecond where they are times.
func (r *rig) shows(when string, want map[string]float64) {
	r.t.Helper()
	got := r.gather()
	for series, v := range want {
		if g, ok := got[series]; !ok || math.Abs(g-v) > 1e-6 {
			r.t.Errorf("%s %s is %v (there: %v), want %v", when, series, g, ok, v)
		}
	}
}

func unix(at time.Time) float64 { return float64(at.UnixMicro()) / 1e6 }

// answeringAfter answers as another does, after a while.
func answeringAfter(d time.Duration, answer func(context.Context, braze.Batch) braze.Report) func(context.Context, braze.Batch) braze.Report {
	return func(ctx context.Context, b braze.Batch) braze.Report {
		pause(ctx, d)
		return answer(ctx, b)
	}
}

// newMetricsRig is a rig a day after the year 2000 began, before which no
// computed_time is believed.
func newMetricsRig(t *testing.T, change func(*Options)) *rig {
	t.Helper()
	time.Sleep(24 * time.Hour)
	return newRig(t, change)
}

func TestDelaysCountUntilBrazesAnswerAndBackfillApart(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const answer = 2 * time.Second
		r := newMetricsRig(t, nil)
		r.kafka.dense = true // So the first live record follows the last of the backfill.
		r.braze.script(answeringAfter(answer, blaming("bad")))
		// Two changes and one more that Braze refuses lie in the log for 5 s
		// before anybody reads it.
		written := time.Now()
		computed := written.Add(-10 * time.Second)
		r.produce(0, "c1", true, computed, "u1", "u2", "bad")
		time.Sleep(5 * time.Second)
		stop := r.run()
		defer stop()
		r.settled()
		answered := r.braze.sent()[0].at.Add(answer)
		backfill := map[string]float64{
			"delivery_delay_seconds_count{path=backfill}": 2, "record_delay_seconds_count{path=backfill}": 2,
			"delivery_delay_seconds_sum{path=backfill}": 2 * answered.Sub(computed).Seconds(),
			"record_delay_seconds_sum{path=backfill}":   2 * answered.Sub(written).Seconds(),
		}
		r.shows("after the backfill", backfill)
		r.shows("after the backfill", map[string]float64{
			"delivery_delay_seconds_count{path=live}": 0, "record_delay_seconds_count{path=live}": 0,
			"sync_last_success_timestamp_seconds{sync=one}": unix(answered), "sync_last_success_timestamp_seconds{sync=two}": 0,
		})

		written = time.Now()
		computed = written.Add(-3 * time.Second)
		r.produce(0, "c2", true, computed, "u1")
		r.settled()
		sent := r.braze.sent()
		lived := sent[len(sent)-1].at.Add(answer)
		r.shows("after a live change", backfill)
		r.shows("after a live change", map[string]float64{
			"delivery_delay_seconds_count{path=live}": 1, "record_delay_seconds_count{path=live}": 1,
			"delivery_delay_seconds_sum{path=live}":         lived.Sub(computed).Seconds(),
			"record_delay_seconds_sum{path=live}":           lived.Sub(written).Seconds(),
			"sync_last_success_timestamp_seconds{sync=one}": unix(answered), "sync_last_success_timestamp_seconds{sync=two}": unix(lived),
		})

		r.braze.script(failing(braze.Unreachable, 503))
		r.produce(0, "c2", false, time.Now(), "u1")
		time.Sleep(time.Minute)
		r.shows("while Braze fails", map[string]float64{
			"delivery_delay_seconds_count{path=live}": 1, "sync_last_success_timestamp_seconds{sync=two}": unix(lived),
		})
	})
}

func TestGaugesTellHowFarThePartitionsAre(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newMetricsRig(t, nil)
		stop := r.run()
		defer stop()
		r.produce(0, "c1", true, time.Now(), "u1")
		delivered := r.produce(0, "c1", true, time.Now(), "u2", "u3")
		r.settled()
		r.shows("once all is delivered", map[string]float64{
			"oldest_unsettled_timestamp_seconds": 0, "changes_pending": 0, "late_memory_identifiers": 3, "partitions_owned": 2,
			"committed_offset{partition=0}": float64(r.kafka.partitions[0].next), "committed_offset{partition=1}": 0,
			"high_watermark_offset{partition=0}": float64(r.kafka.partitions[0].next), "high_watermark_offset{partition=1}": 0,
		})

		// The second partition's record is the older one.
		r.braze.script(failing(braze.Unreachable, 503))
		older := time.Now()
		second := r.produce(1, "c2", true, older, "u1")
		time.Sleep(7 * time.Second)
		newer := time.Now()
		first := r.produce(0, "c1", false, newer, "u1", "u2")
		r.produce(0, "c1", false, newer, "u3")
		end := r.kafka.partitions[0].next
		r.kafka.retain(0, delivered)
		time.Sleep(5 * time.Second)
		waiting := map[string]float64{
			"oldest_unsettled_timestamp_seconds": unix(older), "changes_pending": 4, "late_memory_identifiers": 0,
			"committed_offset{partition=0}": float64(first), "committed_offset{partition=1}": float64(second),
			"high_watermark_offset{partition=0}": float64(end), "high_watermark_offset{partition=1}": float64(r.kafka.partitions[1].next),
			"log_start_offset{partition=1}": 0,
		}
		r.shows("while Braze fails", waiting)
		time.Sleep(boundsEvery)
		waiting["log_start_offset{partition=0}"] = float64(delivered)
		r.shows("half a minute later", waiting)
		r.target.mu.Lock()
		used := r.target.gen.memory.used
		r.target.mu.Unlock()
		r.shows("half a minute later", map[string]float64{"memory_used_bytes": float64(used)})

		// Requests that are under way, and one partition that is settled first.
		r.braze.script(func(ctx context.Context, b braze.Batch) braze.Report {
			if b.CohortID == "c1" {
				pause(ctx, 2*time.Minute)
			}
			return blaming()(ctx, b)
		})
		time.Sleep(90 * time.Second)
		r.shows("while one request takes long", map[string]float64{
			"oldest_unsettled_timestamp_seconds": unix(newer), "changes_pending": 3, "requests_in_flight": 1,
		})
		r.braze.script(nil)
		r.settled()
		r.shows("in the end", map[string]float64{
			"oldest_unsettled_timestamp_seconds": 0, "changes_pending": 0, "requests_in_flight": 0,
			"committed_offset{partition=0}": float64(end), "late_memory_identifiers": 4,
		})
	})
}

// What another worker owns is the other worker's to tell: two that tell of one
// partition would make nonsense of every sum.
func TestTheGaugesOfAPartitionGoWithItsFeed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		stop := r.run()
		defer stop()
		r.produce(0, "c1", true, time.Now(), "u1")
		r.produce(1, "c2", true, time.Now(), "u2")
		r.settled()
		r.tellsOf(2)
		r.shows("at first", map[string]float64{"rebalances_total": 1})

		leave := r.joinedByAnother()
		time.Sleep(time.Minute)
		r.tellsOf(1)
		r.shows("beside another", map[string]float64{"rebalances_total": 2})

		leave()
		time.Sleep(time.Minute)
		r.tellsOf(2)
		r.shows("alone again", map[string]float64{"rebalances_total": 3})

		r.braze.script(failing(braze.Unreachable, 503))
		r.produce(0, "c1", false, time.Now(), "u1")
		time.Sleep(10 * time.Second)
		stop()
		r.tellsOf(0)
		r.shows("after the end", map[string]float64{
			"oldest_unsettled_timestamp_seconds": 0, "changes_pending": 0, "requests_in_flight": 0,
			"late_memory_identifiers": 0, "memory_used_bytes": 0, "changes_released_total": 1,
		})
	})
}

// tellsOf checks of how many partitions the gauges tell.
func (r *rig) tellsOf(partitions int) {
	r.t.Helper()
	for _, gauge := range []string{"committed_offset", "log_start_offset", "high_watermark_offset"} {
		n := 0
		for series := range r.gather() {
			if strings.HasPrefix(series, gauge+"{") {
				n++
			}
		}
		if n != partitions {
			r.t.Errorf("%s is told of %d partitions, want %d", gauge, n, partitions)
		}
	}
	r.shows("by number", map[string]float64{"partitions_owned": float64(partitions)})
}

// joinedByAnother has one more member join the group, which reads nothing.
func (r *rig) joinedByAnother() (leave func()) {
	ctx, cancel := context.WithCancel(context.Background())
	other := &simMember{simLog: simLog{r.kafka, &simWorker{number: 2}}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := other.Run(ctx, func(ctx context.Context, _ Generation) { <-ctx.Done() }); err != nil {
			r.t.Errorf("the other member: %v", err)
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}
