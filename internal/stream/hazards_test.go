package stream

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cohortsync/internal/braze"
	"cohortsync/internal/catalog"
)

// second makes another worker on the rig's Kafka.
func (r *rig) second(change func(*Options)) *rig {
	r.t.Helper()
	s := &rig{
		t: r.t, kafka: r.kafka, braze: &scriptedBraze{}, throttle: &openThrottle{}, registry: prometheus.NewRegistry(),
		logs: &syncBuffer{}, worker: &simWorker{number: 2, done: make(chan struct{})},
	}
	log := simLog{s.kafka, s.worker}
	s.options = r.options
	s.options.Membership, s.options.Log, s.options.Source, s.options.Letters = &simMember{simLog: log}, log, log, simLetters{log}
	s.options.Destination, s.options.Namer, s.options.Throttle = s.braze, s.braze, s.throttle
	s.options.Metrics, s.options.Beats = NewMetrics(s.registry), NewBeats(time.Now)
	if change != nil {
		change(&s.options)
	}
	target, err := NewTarget(s.options)
	if err != nil {
		r.t.Fatal(err)
	}
	s.target, s.worker.target = target, target
	return s
}

// The broker accepts commits while a rebalance is under way, so one of them is
// no proof to a process that has just thawed.
func TestAFrozenOwnerSendsNothingOnceARebalanceIsUnderWay(t *testing.T) {
	// SIGSTOP: overdue ticks fire at once, the answer takes a round trip. A
	// suspended machine: the monotonic clock of the tickers stood still.
	for name, late := range map[string]time.Duration{"SIGSTOP": 5 * time.Millisecond, "suspend": 3 * time.Second} {
		t.Run(name, func(t *testing.T) { thawInARebalance(t, late) })
	}
}

func thawInARebalance(t *testing.T, late time.Duration) {
	inBubble(t, func(t *testing.T) {
		routes := func(linger time.Duration) func(o *Options) {
			return func(o *Options) {
				o.Routes = catalog.NewRoutes("Rig", []catalog.Sync{{Name: "one", CohortID: "c1", Target: "Rig", Linger: linger}})
			}
		}
		one := newRig(t, routes(20*time.Second))
		one.worker.late = late
		var mu sync.Mutex
		member := map[string]bool{}
		apply := func(took time.Duration) func(context.Context, braze.Batch) braze.Report {
			return func(ctx context.Context, b braze.Batch) braze.Report {
				pause(ctx, took)
				mu.Lock()
				for _, it := range b.Items {
					member[it.Identifier.Value] = !it.Remove
				}
				mu.Unlock()
				return blaming()(ctx, b)
			}
		}
		one.braze.script(apply(14 * time.Second)) // Within the request timeout of 15s.
		stopOne := one.run()
		time.Sleep(5 * time.Second)
		one.produce(0, "c1", true, time.Now(), "u1")
		time.Sleep(time.Second)
		one.worker.freeze()
		time.Sleep(time.Second)
		two := one.second(routes(0))
		two.braze.script(apply(0))
		stopTwo := two.run()
		time.Sleep(25 * time.Second)
		one.worker.unfreeze()
		time.Sleep(time.Second)
		one.produce(0, "c1", false, time.Now(), "u1")
		time.Sleep(2 * time.Minute)
		mu.Lock()
		if member["u1"] {
			t.Errorf("the log is quiet for two minutes and says u1 has left; Braze has u1 as a member")
		}
		mu.Unlock()
		stopOne()
		stopTwo()
	})
}

// Records without anything to send are settled at once, but behind a change that
// is stuck their marks stay.
func TestRecordsBehindAStuckChangeStayWithinMemory(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(o *Options) { o.MaxMemory = 64 << 10 })
		r.braze.script(failing(braze.Unreachable, 503))
		stop := r.run()
		r.produce(0, "c1", true, time.Now(), "u1")
		for range 10 {
			for range 5000 {
				r.produce(0, "nobody syncs this", true, time.Now(), "u")
			}
			time.Sleep(20 * time.Second)
		}
		if err := r.target.audit(); err != nil {
			t.Error(err)
		}
		stop()
	})
}

// stubMember serves the given generations.
type stubMember func(ctx context.Context, serve func(context.Context, Generation)) error

func (m stubMember) Run(ctx context.Context, serve func(context.Context, Generation)) error {
	return m(ctx, serve)
}

type stubGeneration struct {
	owned  []Assignment
	commit func(context.Context) error
}

func (g stubGeneration) Assigned() ([]Assignment, int) { return g.owned, 2 }
func (g stubGeneration) Fresh() bool                   { return false }
func (g stubGeneration) Commit(ctx context.Context, _ map[int]int64) error {
	if g.commit == nil {
		return nil
	}
	return g.commit(ctx)
}

// The rebalance is told at the moment that the first commit is accepted.
func TestAGenerationThatEndsAsItBeginsLeavesNoLoopBehind(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(o *Options) {
			o.Membership = stubMember(func(ctx context.Context, serve func(context.Context, Generation)) error {
				first, end := context.WithCancel(ctx)
				serve(first, stubGeneration{owned: []Assignment{{Partition: 0, Committed: 0}}, commit: func(context.Context) error {
					end() // The rebalance is told at the moment that the commit is accepted.
					return nil
				}})
				serve(ctx, stubGeneration{}) // Another worker has the partition now.
				return nil
			})
		})
		stop := r.run()
		time.Sleep(5 * time.Minute)
		if stuck := r.options.Beats.Stuck(time.Minute); len(stuck) > 0 {
			t.Errorf("/healthz says 503, stuck: %v", stuck)
		}
		stop()
	})
}

type slowLetters struct {
	Letters
	took time.Duration
}

func (l slowLetters) Write(ctx context.Context, letter Letter) error {
	time.Sleep(l.took)
	return l.Letters.Write(ctx, letter)
}

// wholeLog fetches all there is at once.
type wholeLog struct{ simLog }

func (l wholeLog) Open(partition int) Cursor { return wholeCursor{&simCursor{l.simLog, partition}} }

type wholeCursor struct{ *simCursor }

func (c wholeCursor) Fetch(ctx context.Context, offset int64, n int) (Fetched, error) {
	f, err := c.simCursor.Fetch(ctx, offset, n)
	if err != nil || len(f.Records) == 0 {
		return f, err
	}
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	p := &c.k.partitions[c.partition]
	f.Records, f.Next = nil, p.next
	for _, r := range p.records {
		if r.Offset >= offset {
			f.Records = append(f.Records, r)
		}
	}
	return f, nil
}

func TestALoopThatWritesLettersBeats(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(o *Options) {
			o.Target.MaxDeadLettersPerMinute = 1000
			o.Letters = slowLetters{o.Letters, 70 * time.Millisecond} // 860 a minute: below the limit.
			o.Log = wholeLog{o.Log.(simLog)}
		})
		for range 5000 {
			r.kafka.produce(0, []byte("not json"))
		}
		stop := r.run()
		for range 300 {
			time.Sleep(time.Second)
			if stuck := r.options.Beats.Stuck(time.Minute); len(stuck) > 0 {
				t.Errorf("/healthz says 503, stuck: %v, after %d letters were written", stuck, len(r.kafka.written()))
				break
			}
		}
		stop()
	})
}

func (r *rig) rebalance() {
	r.kafka.mu.Lock()
	r.kafka.prepare()
	r.kafka.mu.Unlock()
}

func TestANamingDoesNotLiftWhatABatchHasLocked(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(o *Options) { o.Target.MaxDeadLettersPerMinute = 2 })
		r.braze.script(blaming("b1", "b2", "b3"))
		stop := r.run()
		r.produce(0, "c1", true, time.Now(), "b1", "b2", "b3")
		time.Sleep(10 * time.Minute)
		for range 3 {
			r.rebalance()
			time.Sleep(10 * time.Minute)
		}
		if n := strings.Count(r.logs.String(), "the target is unlocked"); n > 0 {
			t.Errorf("unlocked %d times although every batch has been refused:\n%s", n, r.logs)
		}
		stop()
	})
}

func TestALockWhoseRequestHasGoneAwayLetsTheNextOneProbe(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, nil)
		stop := r.run()
		now := time.Now()
		name := func(partition int, name string, at time.Time) {
			r.kafka.produce(partition, fmt.Appendf(nil, `{"cohort_id":"c1","cohort_name":%q,"in_cohort":true,"computed_time":%d,"users":[{}]}`, name, at.Unix()))
		}
		r.produce(0, "c1", true, now, "u1")
		r.settled()
		r.braze.mu.Lock()
		r.braze.name = func(braze.Naming) error { return &braze.Error{Class: braze.Refused, Status: 401, Message: "scripted"} }
		r.braze.mu.Unlock()
		time.Sleep(3 * time.Second)
		name(0, "Another", now.Add(time.Second)) // Its naming is refused,
		time.Sleep(100 * time.Millisecond)
		name(0, "Name of c1", now.Add(2*time.Second)) // and the name is taken back while the fetch is out.
		time.Sleep(10 * time.Second)
		r.braze.mu.Lock()
		r.braze.name = nil // The key works again.
		r.braze.mu.Unlock()
		r.produce(0, "c1", false, now.Add(3*time.Second), "u1")
		r.produce(1, "c2", true, now.Add(3*time.Second), "u2")
		time.Sleep(24 * time.Hour)
		if !r.kafka.drained() {
			t.Errorf("a day after Braze works again: %+v, %d batches sent, %d namings", r.target.Status(), len(r.braze.sent()), len(r.braze.named()))
		}
		stop()
	})
}

func TestAWorkerWithoutPartitionsIsNotLocked(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		next := make(chan struct{})
		r := newRig(t, func(o *Options) {
			o.Membership = stubMember(func(ctx context.Context, serve func(context.Context, Generation)) error {
				first, end := context.WithCancel(ctx)
				go func() { <-next; end() }()
				serve(first, stubGeneration{owned: []Assignment{{Partition: 0, Committed: 0}}})
				serve(ctx, stubGeneration{})
				return nil
			})
		})
		r.braze.script(failing(braze.Refused, 401))
		stop := r.run()
		r.produce(0, "c1", true, time.Now(), "u1")
		time.Sleep(time.Minute)
		close(next)
		r.braze.script(nil)
		time.Sleep(24 * time.Hour)
		if s := r.target.Status(); len(s.Locked) > 0 {
			t.Errorf("a day after Braze works again, a worker without partitions: %+v", s)
		}
		stop()
	})
}

// offlineLog has one partition without a leader, for as long as away says.
type offlineLog struct {
	simLog
	away *atomic.Bool
}

func (l offlineLog) Bounds(ctx context.Context, partitions []int) (map[int]Bounds, error) {
	bounds, err := l.simLog.Bounds(ctx, partitions)
	if _, asked := bounds[1]; asked && l.away.Load() {
		delete(bounds, 1)
		err = errors.New("partition 1: leader not available")
	}
	return bounds, err
}

func TestAPartitionWithoutALeaderDoesNotHoldUpTheOthers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var away atomic.Bool
		away.Store(true)
		r := newRig(t, func(o *Options) { o.Log = offlineLog{o.Log.(simLog), &away} })
		stop := r.run()
		defer stop()
		r.produce(0, "c1", true, time.Now(), "u1")
		r.produce(1, "c2", true, time.Now(), "u2")
		time.Sleep(time.Hour)
		if sent := r.braze.sent(); len(sent) != 1 || users(sent[0].Batch) != "+u1" {
			t.Errorf("sent %+v", sent)
		}
		if n := strings.Count(r.logs.String(), "cannot start reading all partitions"); n != 1 {
			t.Errorf("told %d times", n)
		}
		r.audit()
		away.Store(false)
		r.settled()
		if n := len(r.braze.sent()); n != 2 {
			t.Errorf("%d batches once the leader is back", n)
		}
	})
}

// strictLetters refuses letters above a size.
type strictLetters struct {
	Letters
	most int
}

func (l strictLetters) Write(ctx context.Context, letter Letter) error {
	n := len(letter.Key) + len(letter.Value)
	for _, h := range letter.Headers {
		n += len(h.Key) + len(h.Value)
	}
	if n > l.most {
		return ErrLetterTooLarge
	}
	return l.Letters.Write(ctx, letter)
}

func TestALetterWhoseKeyIsTooLargeGoesWithoutIt(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r := newRig(t, func(o *Options) { o.Letters = strictLetters{o.Letters, 1 << 20} })
		stop := r.run()
		offset := r.kafka.produce(0, []byte("not json"))
		r.kafka.mu.Lock()
		p := &r.kafka.partitions[0]
		for i := range p.records {
			if p.records[i].Offset == offset {
				p.records[i].Key = make([]byte, 1<<20)
			}
		}
		r.kafka.mu.Unlock()
		time.Sleep(24 * time.Hour)
		if !r.kafka.drained() {
			t.Errorf("a letter has stopped the partition for a day: %v", r.kafka.committed())
		}
		stop()
	})
}

func TestATopicMadeAnewIsNotCommittedPastWhatIsUnsettled(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *Options) { o.Log = boundedLog{o.Log, Bounds{First: 0, Next: 10}, 0} })
	g := &generation{t: r.target}
	f := newFeed(g, 0, start{offset: 500})
	f.tracker.track(500, 0) // Unsettled: Braze is down.
	f.offset = 501
	if err := f.realign(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.tracker.track(0, 0) // Unsettled, too.
	if first := f.tracker.unsettled(); first > 0 {
		t.Errorf("commits %d although offset 0 of the present topic is unsettled", first)
	}
}

func TestACohortThatIsForgottenGivesItsTableBack(t *testing.T) {
	r := newRig(t, func(o *Options) { o.MaxMemory = 16 << 20 })
	g := &generation{t: r.target, schedule: newSchedule(1000), store: newStore(), turns: map[string]*turn{}, memory: newMemory(16 << 20)}
	f := newFeed(g, 0, start{})
	before := heapBytes()
	for n := range 40 { // One cohort after another changes; what is remembered of the earlier ones gives way.
		c, _ := f.cohort(fmt.Appendf(nil, "cohort %d", n), &catalog.Sync{})
		for i := range 100_000 {
			key := fmt.Appendf(nil, "user %d", i)
			if !g.hasRoom(f, entryCost+int64(len(key))) {
				t.Fatal("no room")
			}
			ref := g.store.add(c, key, g.store.hash(key))
			g.memory.used += g.store.at(ref).cost()
			g.store.at(ref).arrived = 1
			g.remember(ref)
		}
	}
	if grown := heapBytes() - before; grown > 2*g.memory.limit {
		t.Errorf("the heap holds %d KiB of %d KiB", grown>>10, g.memory.limit>>10)
	}
	runtime.KeepAlive(g)
}
