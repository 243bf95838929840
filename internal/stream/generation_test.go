package stream

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestTheThrottleIsToldWhatEachGenerationOwns(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		told := func(when string, owned, total int) {
			t.Helper()
			r.throttle.mu.Lock()
			defer r.throttle.mu.Unlock()
			if r.throttle.owned != owned || r.throttle.total != total {
				t.Errorf("%s it owns %d of %d, want %d of %d", when, r.throttle.owned, r.throttle.total, owned, total)
			}
		}
		stop := r.run()
		r.produce(0, "c1", true, time.Now(), "u1")
		r.settled()
		told("in its generation", 2, 2)
		stop()
		told("after it", 0, 2)
	})
}

// lettersFunc is Letters from one function.
type lettersFunc func(ctx context.Context, letter Letter) error

func (f lettersFunc) Write(ctx context.Context, letter Letter) error { return f(ctx, letter) }

// A record that is larger than what is set aside for a fetch comes whole: the
// budget has to know of it for as long as it is there.
func TestALargeRecordCountsForAsLongAsItIsTakenIn(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const size = 600 << 10
		r := newRig(t, nil)
		letters := r.target.Letters
		var extra int64
		r.target.Letters = lettersFunc(func(ctx context.Context, letter Letter) error {
			r.target.mu.Lock()
			extra = r.target.gen.memory.used - r.target.gen.memory.reserved + int64(r.target.gen.memory.fetch)
			r.target.mu.Unlock()
			return letters.Write(ctx, letter)
		})
		stop := r.run()
		defer stop()
		r.kafka.produce(0, []byte(strings.Repeat("x", size)))
		r.settled()
		if extra < size || extra > size+1000 {
			t.Errorf("%d bytes count while a record of %d is taken in", extra, size)
		}
		r.audit() // None of it is left.
	})
}

// boundless is a log that tells no bounds.
type boundless struct{ Log }

func (boundless) Bounds(context.Context, []int) (map[int]Bounds, error) {
	return nil, errors.New("scripted")
}

func TestAGenerationThatCannotBeginTellsWhyOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(o *Options) { o.Log = boundless{o.Log} })
		stop := r.run()
		time.Sleep(10 * time.Minute)
		stop()
		if n := strings.Count(r.logs.String(), "cannot start reading all partitions yet"); n != 1 {
			t.Errorf("told %d times:\n%s", n, r.logs)
		}
	})
}

// The broker knew this worker as a member when the commit left, not when its
// answer came.
func TestTheLeaseCountsFromTheSendingOfACommit(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		const answered = time.Second
		g := &generation{
			t: r.target, turn: make(chan struct{}, 1), kick: make(chan struct{}, 1),
			lease: newLease(simTiming(), r.options.Target.RequestTimeout, time.Now()),
			gen: stubGeneration{commit: func(context.Context) error {
				time.Sleep(answered)
				return nil
			}},
		}
		sent := time.Now()
		if err := g.commitAll(t.Context(), map[int]int64{0: 1}, func() {}); err != nil {
			t.Fatal(err)
		}
		if !g.lease.known.Equal(sent) || !g.lease.valid(time.Now()) {
			t.Errorf("the lease counts from %v after the sending", g.lease.known.Sub(sent))
		}
	})
}
