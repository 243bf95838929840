package stream

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"cohortsync/internal/braze"
)

func TestALoopIsStuckOnceItsLastBeatIsLongerAgoThanTheLimit(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		beats := NewBeats(time.Now)
		slow, quick, ended := beats.loop("slow"), beats.loop("quick"), beats.loop("ended")
		stuck := func(want ...string) {
			t.Helper()
			got := beats.Stuck(time.Minute)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("after a while %v are stuck, want %v", got, want)
			}
		}
		stuck()
		time.Sleep(30 * time.Second)
		quick.beat()
		ended.done()
		time.Sleep(30 * time.Second)
		stuck() // Just at the limit.
		time.Sleep(time.Nanosecond)
		stuck("slow")
		time.Sleep(30 * time.Second)
		stuck("quick", "slow")
		slow.beat()
		ended.beat() // One that has ended does not come back.
		stuck("quick")
		quick.beat()
		time.Sleep(time.Minute + 1)
		stuck("quick", "slow")
	})
}

// Each loop of a generation is known by its name, and noticed when whatever it
// calls does not come back.
func TestALoopThatHangsIsStuck(t *testing.T) {
	hangs := map[string]func(*Options, hang){
		"begin Rig":     func(o *Options, h hang) { o.Log = hangingLog{o.Log, h, "bounds"} },
		"read 1 of Rig": func(o *Options, h hang) { o.Log = hangingLog{o.Log, h, "fetch"} },
		"dispatch Rig":  func(o *Options, h hang) { o.Throttle = hangingThrottle{o.Throttle, h} },
		"commit Rig":    func(o *Options, h hang) { o.Membership = hangingCommits{o.Membership, h} },
	}
	for name, change := range hangs {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				h := hang{until: make(chan struct{})}
				r := newRig(t, func(o *Options) { change(o, h) })
				stop := r.run()
				defer stop()
				defer close(h.until)
				r.produce(0, "c1", true, time.Now(), "u1")
				time.Sleep(10 * time.Minute)
				if stuck := r.options.Beats.Stuck(6 * BeatEvery); !slices.Equal(stuck, []string{name}) {
					t.Errorf("%v are stuck, want %s", stuck, name)
				}
			})
		})
	}
}

// hang is what does not come back before the end of the test.
type hang struct{ until chan struct{} }

type hangingLog struct {
	Log
	hang
	where string
}

func (l hangingLog) Bounds(ctx context.Context, partitions []int) (map[int]Bounds, error) {
	if l.where == "bounds" {
		<-l.until
	}
	return l.Log.Bounds(ctx, partitions)
}

func (l hangingLog) Open(partition int) Cursor {
	if l.where == "fetch" && partition == 1 {
		return hangingCursor{l.Log.Open(partition), l.hang}
	}
	return l.Log.Open(partition)
}

type hangingCursor struct {
	Cursor
	hang
}

func (c hangingCursor) Fetch(ctx context.Context, offset int64, maxBytes int) (Fetched, error) {
	<-c.until
	return c.Cursor.Fetch(ctx, offset, maxBytes)
}

type hangingThrottle struct {
	Throttle
	hang
}

func (h hangingThrottle) Take() time.Duration {
	<-h.until
	return h.Throttle.Take()
}

// hangingCommits hangs on all commits but the first, which begins the
// generation.
type hangingCommits struct {
	Membership
	hang
}

func (m hangingCommits) Run(ctx context.Context, serve func(context.Context, Generation)) error {
	return m.Membership.Run(ctx, func(ctx context.Context, gen Generation) {
		serve(ctx, &hangingGeneration{Generation: gen, hang: m.hang})
	})
}

type hangingGeneration struct {
	Generation
	hang
	commits int
}

func (g *hangingGeneration) Commit(ctx context.Context, offsets map[int]int64) error {
	if g.commits++; g.commits > 1 {
		<-g.until
	}
	return g.Generation.Commit(ctx, offsets)
}

// A restart would mend none of it, so nobody is to be restarted for it.
func TestALoopThatWaitsGoesRoundAllTheSame(t *testing.T) {
	waits := map[string]struct {
		options func(*Options)
		during  func(*rig)
	}{
		"for records": {},
		"for Braze": {during: func(r *rig) {
			r.braze.script(failing(braze.Unreachable, 503))
		}},
		"for an answer that takes long": {during: func(r *rig) {
			r.braze.script(func(ctx context.Context, b braze.Batch) braze.Report {
				pause(ctx, 10*time.Minute)
				return blaming()(ctx, b)
			})
		}},
		"for the throttle": {options: func(o *Options) { o.Throttle = &shutThrottle{} }},
		"for a lock to be lifted": {during: func(r *rig) {
			r.braze.script(failing(braze.Refused, 401))
		}},
		"for dead letters": {during: func(r *rig) {
			r.braze.script(blaming("u1"))
			r.kafka.setFaults(simKafkaFaults{lettersDown: true})
			r.kafka.produce(1, []byte("not json"))
		}},
		"for room in the memory": {
			options: func(o *Options) { o.MaxMemory = 34 << 10 },
			during: func(r *rig) {
				r.braze.script(failing(braze.Unreachable, 503))
				for i := range 200 {
					r.produce(i%2, "c1", true, time.Now(), fmt.Sprint("user-", i))
				}
			},
		},
		"for Kafka to be read":      {during: func(r *rig) { r.kafka.setFaults(simKafkaFaults{fetch: 1}) }},
		"for commits to be taken":   {during: func(r *rig) { r.kafka.setFaults(simKafkaFaults{commitLost: 1}) }},
		"for the first commit, too": {options: func(o *Options) { o.Membership.(*simMember).k.setFaults(simKafkaFaults{commitLost: 1}) }},
	}
	for name, tt := range waits {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				r := newRig(t, tt.options)
				stop := r.run()
				defer stop()
				r.produce(0, "c1", true, time.Now(), "u1")
				if tt.during != nil {
					tt.during(r)
				}
				for range 600 {
					time.Sleep(time.Second)
					if stuck := r.options.Beats.Stuck(6 * BeatEvery); len(stuck) > 0 {
						t.Fatalf("%v are stuck", stuck)
					}
				}
				stop()
				time.Sleep(10 * time.Minute)
				if stuck := r.options.Beats.Stuck(0); len(stuck) > 0 {
					t.Errorf("%v have ended and are stuck", stuck)
				}
			})
		})
	}
}

// shutThrottle lets nothing through.
type shutThrottle struct{ openThrottle }

func (*shutThrottle) Take() time.Duration { return time.Hour }
