package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"cohortsync/internal/braze"
)

// slowToAsk is a destination that takes long before it asks to be admitted, as
// a process does that is stopped at the wrong moment.
type slowToAsk struct {
	*scriptedBraze
	delay time.Duration
}

func (s slowToAsk) Deliver(ctx context.Context, b braze.Batch, admit braze.Admit) braze.Report {
	time.Sleep(s.delay)
	return s.scriptedBraze.Deliver(ctx, b, admit)
}

func TestARequestThatComesTooLateIsNotAdmitted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.target.Destination = slowToAsk{r.braze, time.Minute}
		stop := r.run()
		r.produce(0, "c1", true, time.Now(), "u1")
		time.Sleep(5 * time.Second)
		r.kafka.setFaults(simKafkaFaults{commitLost: 1})
		time.Sleep(time.Minute + 10*time.Second)
		if n := len(r.braze.sent()); n != 0 {
			t.Errorf("%d requests left without a lease", n)
		}
		stop()
	})
}

func TestNoRequestStartsOnceTheGenerationHasEnded(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.target.Destination = slowToAsk{r.braze, 5 * time.Second}
		stop := r.run()
		r.produce(0, "c1", true, time.Now(), "u1")
		time.Sleep(3 * time.Second)
		stop()
		if n := len(r.braze.sent()); n != 0 {
			t.Errorf("%d requests started during the drain", n)
		}
		if f := r.funnel(); f.released != 1 {
			t.Errorf("the funnel is %+v", f)
		}
	})
}

// A request that the drain cut off before its own deadline could still be
// applied by Braze once the next owner has begun to send.
func TestTheDrainLetsEveryRequestReachItsDeadline(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(o *Options) {
			o.Target.RequestTimeout = o.Timing.DrainTimeout - time.Second
			o.Timing.SessionTimeout, o.Timing.RebalanceTimeout = time.Minute, time.Minute
		})
		var cut error
		r.braze.script(func(ctx context.Context, b braze.Batch) braze.Report {
			pause(ctx, r.options.Target.RequestTimeout)
			cut = ctx.Err()
			return blaming()(ctx, b)
		})
		stop := r.run()
		r.produce(0, "c1", true, time.Now(), "u1")
		for len(r.braze.sent()) == 0 {
			time.Sleep(time.Millisecond)
		}
		stop()
		if cut != nil {
			t.Errorf("a request was cut off before its deadline: %v", cut)
		}
		if got := r.kafka.committed()[0]; got < 1 {
			t.Errorf("committed %d: the drain left no time for the last commit", got)
		}
	})
}

func TestARecordThatIsReadInPartIsNotCommitted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(o *Options) {
			o.MaxMemory = 33 << 10 // Little more than what is set aside for fetches.
			o.Target.MaxBatch = 100
		})
		var users []string
		for i := range 150 {
			users = append(users, fmt.Sprintf(`{"user_id":"user-%d"}`, i))
		}
		// The first batch of a large record passes, but while it is under way
		// another cohort's request is refused: nothing more is read then, and
		// all that was read of the record is settled.
		r.braze.script(func(ctx context.Context, b braze.Batch) braze.Report {
			if b.CohortID == "c2" {
				return failing(braze.Refused, 401)(ctx, b)
			}
			pause(ctx, 10*time.Second)
			return blaming()(ctx, b)
		})
		stop := r.run()
		r.produce(1, "c2", true, time.Now(), "u1")
		offset := r.kafka.produce(0, fmt.Appendf(nil, `{"cohort_id":"c1","in_cohort":true,"users":[%s]}`, strings.Join(users, ",")))
		time.Sleep(time.Minute)
		stop()
		if f := r.funnel(); f.delivered != 100 || f.consumed != 101 {
			t.Fatalf("the record was not read in part: %+v", f)
		}
		if c := r.kafka.committed()[0]; c > offset {
			t.Errorf("committed %d past the record at %d", c, offset)
		}
	})
}

func TestALetterThatIsNotWrittenSettlesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.braze.script(blaming("bad"))
		r.kafka.setFaults(simKafkaFaults{lettersDown: true})
		stop := r.run()
		fault := r.produce(0, "c1", true, time.Now(), "bad")
		broken := r.kafka.produce(1, []byte("not json"))
		time.Sleep(time.Minute)
		stop()
		if f := r.funnel(); f.deadLettered != 0 || f.released != 1 {
			t.Errorf("the funnel is %+v", f)
		}
		if c := r.kafka.committed(); c[0] > fault || c[1] > broken {
			t.Errorf("committed %v past the letters at %d and %d", c, fault, broken)
		}
	})
}

// Of a letter that is divided, every part has to be written.
func TestALetterOfWhichAPartIsNotWrittenSettlesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.braze.script(blaming("bad1", "bad2"))
		letters := limitedLetters{r.target.Letters, 90}
		r.target.Letters = lettersFunc(func(ctx context.Context, letter Letter) error {
			if value := string(letter.Value); strings.Contains(value, "bad2") && !strings.Contains(value, "bad1") {
				return errors.New("scripted")
			}
			return letters.Write(ctx, letter)
		})
		stop := r.run()
		fault := r.produce(0, "c1", true, time.Now(), "bad1", "bad2")
		time.Sleep(time.Minute)
		stop()
		if n := len(r.kafka.written()); n != 1 {
			t.Fatalf("%d letters were written, want that of the first user", n)
		}
		if f := r.funnel(); f.deadLettered != 0 || f.released != 2 {
			t.Errorf("the funnel is %+v", f)
		}
		if c := r.kafka.committed()[0]; c > fault {
			t.Errorf("committed %d past the letters of %d", c, fault)
		}
	})
}

func TestAGenerationStartsWhereItShould(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const first, next, byTime = 100, 200, 150
	tests := map[string]struct {
		from      StartFrom
		fresh     bool
		committed int64
		want      int64
		backfill  int64
		added     bool
	}{
		"a new group, earliest":                 {StartFrom{}, true, -1, first, next, false},
		"a new group, latest":                   {StartFrom{Latest: true}, true, -1, next, 0, false},
		"a new group, by time":                  {StartFrom{Time: at}, true, -1, byTime, next, false},
		"a commit wins over start_from":         {StartFrom{Latest: true}, false, 170, 170, 0, false},
		"a new partition of an old group":       {StartFrom{Latest: true}, false, -1, first, 0, false},
		"a partition added to a new group":      {StartFrom{Latest: true}, true, -1, first, 0, true},
		"a commit below the log":                {StartFrom{Latest: true}, false, 50, first, 0, false},
		"a commit above the log":                {StartFrom{Latest: true}, false, 201, first, 0, false},
		"a commit at the end of the log is one": {StartFrom{}, false, next, next, 0, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(o *Options) {
				o.StartFrom = tt.from
				o.Log = boundedLog{o.Log, Bounds{First: first, Next: next}, byTime}
			})
			gen := &simGeneration{fresh: tt.fresh}
			g := &generation{t: r.target, gen: gen}
			starts, err := g.starts(t.Context(), []Assignment{{Partition: 3, Committed: tt.committed, New: tt.added}})
			if err != nil {
				t.Fatal(err)
			}
			if s := starts[3]; s.offset != tt.want || s.backfillEnd != tt.backfill {
				t.Errorf("starts at %d with backfill to %d, want %d and %d", s.offset, s.backfillEnd, tt.want, tt.backfill)
			}
		})
	}
}

func TestBackfillStaysBackfillThroughRebalances(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *Options) { o.Log = boundedLog{o.Log, Bounds{Next: 200}, 0} })
	fresh := &generation{t: r.target, gen: &simGeneration{fresh: true}}
	if _, err := fresh.starts(t.Context(), []Assignment{{Partition: 3, Committed: -1}}); err != nil {
		t.Fatal(err)
	}
	later := &generation{t: r.target, gen: &simGeneration{}}
	starts, err := later.starts(t.Context(), []Assignment{{Partition: 3, Committed: 50}})
	if err != nil {
		t.Fatal(err)
	}
	if s := starts[3]; s.offset != 50 || s.backfillEnd != 200 {
		t.Errorf("starts at %d with backfill to %d, want 50 and 200", s.offset, s.backfillEnd)
	}
}

func TestABackfillEndsWhereItFirstDid(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for _, next := range []int64{200, 300} {
		if end := r.target.backfills(3, Bounds{Next: next}); end != 200 {
			t.Errorf("with the log at %d the backfill ends at %d, want 200", next, end)
		}
	}
}

type boundedLog struct {
	Log
	bounds Bounds
	byTime int64
}

func (l boundedLog) Bounds(_ context.Context, partitions []int) (map[int]Bounds, error) {
	return map[int]Bounds{partitions[0]: l.bounds}, nil
}

func (l boundedLog) OffsetsAt(_ context.Context, partitions []int, _ time.Time) (map[int]int64, error) {
	return map[int]int64{partitions[0]: l.byTime}, nil
}
