package stream

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"cohortsync/internal/braze"
)

// stopReading has Braze refuse a request, which stops the feeds once they have
// fetched in vain, and returns what has them go on.
func (r *rig) stopReading() (goOn func()) {
	r.t.Helper()
	r.braze.script(failing(braze.Refused, 401))
	r.produce(0, "c1", true, time.Now(), "refused")
	time.Sleep(5 * time.Second)
	if len(r.target.Status().Locked) == 0 {
		r.t.Fatal("the target is not locked")
	}
	return func() { r.braze.script(nil) }
}

// delivered lists the users of all batches, in order.
func (r *rig) delivered() string {
	var all []string
	for _, b := range r.braze.sent() {
		all = append(all, users(b.Batch))
	}
	return strings.Join(all, " ")
}

// tells checks that the jump was counted once and told once.
func (r *rig) tells(from, logStart, logEnd int64) {
	r.t.Helper()
	if n := r.gather()["offsets_out_of_range_total"]; n != 1 {
		r.t.Errorf("counted %v times", n)
	}
	lost := max(0, logStart-from)
	if n := r.gather()["offsets_lost_total"]; n != float64(lost) {
		r.t.Errorf("counted %v offsets as lost, not %d", n, lost)
	}
	told := fmt.Sprintf("reading from its earliest record\" target=Rig partition=0 offset=%d log_start=%d log_end=%d lost=%d\n", from, logStart, logEnd, lost)
	if strings.Count(r.logs.String(), told) != 1 || strings.Count(r.logs.String(), "earliest record") != 1 {
		r.t.Errorf("not told once %q:\n%s", told, r.logs)
	}
}

func TestAFeedThatRetentionHasOvertakenReadsOnAtTheEarliestRecord(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		stop := r.run()
		defer stop()
		goOn := r.stopReading()
		unread := r.kafka.partitions[0].next
		r.produce(0, "c1", true, time.Now(), "lost1")
		r.produce(0, "c1", true, time.Now(), "lost2")
		first := r.produce(0, "c1", true, time.Now(), "kept1")
		last := r.produce(0, "c1", true, time.Now(), "kept2")
		r.kafka.retain(0, first)
		goOn()
		r.settled()
		if got := r.delivered(); !strings.HasSuffix(got, "+refused +kept1 +kept2") || strings.Contains(got, "lost") {
			t.Errorf("delivered %s", got)
		}
		r.tells(unread, first, last+1)
		if s := r.gather(); s["log_start_offset{partition=0}"] != float64(first) || s["high_watermark_offset{partition=0}"] != float64(last+1) {
			t.Errorf("the log is told to be from %v to %v, and is from %d to %d",
				s["log_start_offset{partition=0}"], s["high_watermark_offset{partition=0}"], first, last+1)
		}
		r.audit()
	})
}

// Whoever draws the lag from the gauges must not see a log without records
// for a moment.
func TestTheEndOfTheLogIsKnownAtEveryMomentOfAJump(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		stop := r.run()
		defer stop()
		goOn := r.stopReading()
		unread := r.kafka.partitions[0].next
		end := r.produce(0, "c1", true, time.Now(), "lost") + 1
		time.Sleep(boundsEvery + time.Second)
		r.kafka.retain(0, end)
		goOn()
		for range 300 {
			if told := r.gather()["high_watermark_offset{partition=0}"]; told != float64(end) {
				t.Fatalf("the end of the log is told to be %v, and is %d", told, end)
			}
			time.Sleep(200 * time.Millisecond)
		}
		r.settled()
		r.tells(unread, end, end)
		if got := r.kafka.committed()[0]; got != end {
			t.Errorf("committed %d, not the end of the log at %d", got, end)
		}
	})
}

func TestAFeedWhoseTopicIsMadeAnewReadsItFromItsStart(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		stop := r.run()
		defer stop()
		old := int64(0)
		for i := range 8 {
			old = r.produce(0, "c1", true, time.Now(), fmt.Sprint("old", i))
		}
		r.settled()
		r.kafka.remake(0)
		r.produce(0, "c1", false, time.Now(), "old0")
		next := r.produce(0, "c1", true, time.Now(), "new") + 1
		time.Sleep(time.Minute)
		if got := r.delivered(); !strings.HasSuffix(got, " -old0 +new") {
			t.Errorf("delivered %s", got)
		}
		r.tells(old+1, 0, next)
		if got := r.kafka.committed()[0]; got != next {
			t.Errorf("committed %d, want %d as the new topic has it", got, next)
		}
		if got := r.gather()["high_watermark_offset{partition=0}"]; got != float64(next) {
			t.Errorf("the end of the log is told to be %v, and is %d", got, next)
		}
		r.audit()
	})
}

// Were the old offset committed, whoever owns the partition next would miss
// all that the new topic has below it by then.
func TestATopicThatIsMadeAnewAndEmptyTakesTheCommitBack(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		stop := r.run()
		defer stop()
		for range 8 {
			r.produce(0, "c1", true, time.Now(), "old")
		}
		r.settled()
		r.kafka.remake(0)
		time.Sleep(time.Minute)
		if got := r.kafka.committed()[0]; got != 0 {
			t.Errorf("committed %d in an empty log", got)
		}
	})
}

func TestAJumpThatFailsIsTriedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		log := &unsureLog{}
		r := newRig(t, func(o *Options) { log.Log, o.Log = o.Log, log })
		stop := r.run()
		defer stop()
		for range 8 {
			r.produce(0, "c1", true, time.Now(), "old")
		}
		r.settled()
		log.failures = 3
		r.kafka.remake(0)
		r.produce(0, "c1", true, time.Now(), "new")
		time.Sleep(10 * time.Minute)
		if got := r.delivered(); !strings.HasSuffix(got, " +new") {
			t.Errorf("delivered %s", got)
		}
		if s := r.gather(); s["fetch_failures_total"] != 3 || s["offsets_out_of_range_total"] != 1 {
			t.Errorf("counted %v failures and %v jumps", s["fetch_failures_total"], s["offsets_out_of_range_total"])
		}
	})
}

// unsureLog fails as often as it is told to when one partition's bounds are
// asked for. It is one feed's.
type unsureLog struct {
	Log
	failures int
}

func (l *unsureLog) Bounds(ctx context.Context, partitions []int) (map[int]Bounds, error) {
	if len(partitions) == 1 && l.failures > 0 {
		l.failures--
		return nil, errSim
	}
	return l.Log.Bounds(ctx, partitions)
}
