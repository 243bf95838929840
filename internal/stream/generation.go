package stream

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// generation is what one generation of the group owns in this worker: its
// feeds and all that they keep. Its fields are guarded by the target's mutex
// unless they say otherwise.
type generation struct {
	t *Target
	// gen, kick, turn and sends are safe without the mutex. turn holds a token
	// while a commit is under way: there is one at a time.
	gen   Generation
	kick  chan struct{}
	turn  chan struct{}
	sends sync.WaitGroup

	feeds    map[int]*feed
	schedule *schedule
	turns    map[string]*turn
	lease    lease

	// pending counts the changes that are not settled, inFlight the requests.
	pending  int
	inFlight int
	hangar   hangar

	memory memory
	store  *store
	// late holds the remembered entries, the one settled first in front.
	late    list
	cooling cooling
	// quietUntil is when the first request may leave, by the target's clock: the
	// last owner may have had an answer just before it went.
	quietUntil int64
}

// boundsEvery is how often the bounds of the log are asked for.
const boundsEvery = 30 * time.Second

// serve runs one generation from its first commit to its last.
func (t *Target) serve(ctx context.Context, gen Generation) {
	owned, total := gen.Assigned()
	t.metrics.generations.Inc()
	t.Throttle.Share(t.Group, len(owned), total)
	defer t.Throttle.Share(t.Group, 0, total)

	g := &generation{
		t:        t,
		gen:      gen,
		kick:     make(chan struct{}, 1),
		turn:     make(chan struct{}, 1),
		feeds:    make(map[int]*feed),
		schedule: newSchedule(t.Options.Target.MaxBatch),
		turns:    make(map[string]*turn),
		lease:    newLease(t.Timing, t.Options.Target.RequestTimeout, t.Now()),
		memory:   newMemory(t.MaxMemory),
		store:    newStore(),
		cooling:  cooling{guard: int64(t.Options.Target.ReorderGuard)},
	}
	g.quietUntil = t.clock(t.Now()) + g.cooling.guard
	t.enter(g)
	defer t.leave(g)
	g.run(ctx, owned)
}

func (t *Target) enter(g *generation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gen = g
	t.joined = true
	if owned, _ := g.gen.Assigned(); len(owned) == 0 {
		t.lock = nil // Nothing here will ever probe: it is for the owners to know.
	}
}

// leave forgets what is not settled: the next owner of the partitions reads it
// again, from the offsets that this generation has committed.
func (t *Target) leave(g *generation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.funnel.released += uint64(g.pending)
	t.gen = nil
	t.halted = false
	if t.lock != nil {
		// The refused request is forgotten with its generation; the first one
		// of the next takes its place as the probe.
		t.lock.refused = nil
	}
}

// run reads and sends until the generation ends, and then drains.
func (g *generation) run(ctx context.Context, owned []Assignment) {
	// A request in flight outlives the generation's end, but not the drain.
	sending, stopSending := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSending()

	var loops sync.WaitGroup
	loops.Go(func() { g.begin(ctx, owned, func(f *feed) { loops.Go(func() { f.read(ctx, sending) }) }) })
	loops.Go(func() { g.dispatch(ctx, sending) })
	loops.Go(func() { g.keepCommitting(ctx) })
	loops.Go(func() { g.watchBounds(ctx) })

	<-ctx.Done()
	began := g.t.Now()
	// Requests end by their own deadline, and none is cut off before: Braze may
	// apply it until then. This is for the rest, and half of what the drain is
	// longer is left for the last commit.
	timeout := g.t.Options.Target.RequestTimeout
	cut := time.AfterFunc(timeout+(g.t.Timing.DrainTimeout-timeout)/2, stopSending)
	defer cut.Stop()
	loops.Wait()
	g.sends.Wait()
	g.lastCommit(ctx, began)
	g.t.metrics.drain.Observe(g.t.Now().Sub(began).Seconds())
}

func (g *generation) lastCommit(ctx context.Context, began time.Time) {
	left := g.t.Timing.DrainTimeout - g.t.Now().Sub(began)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), left)
	defer cancel()
	if err := g.commit(ctx); err != nil {
		g.t.log.Warn("the last commit failed; the next owner repeats what it would have covered", "error", err)
	}
}

// keepCommitting commits every interval, moved or not: the accepted commit is
// what the lease counts from.
func (g *generation) keepCommitting(ctx context.Context) {
	loop := g.t.loop("commit")
	defer loop.done()
	ticker := time.NewTicker(g.t.Timing.CommitInterval)
	defer ticker.Stop()
	failing := false
	for {
		loop.beat()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		g.expire()
		err := g.commit(ctx)
		if ctx.Err() != nil {
			return
		}
		if (err != nil) != failing {
			failing = err != nil
			g.tellCommit(err)
		}
	}
}

func (g *generation) tellCommit(err error) {
	if err != nil {
		g.t.log.Warn("commits fail; sending stops when the lease runs out", "error", err)
		return
	}
	g.t.log.Info("commits work again")
}

// commit commits the first unsettled offset of every feed, if there is one.
func (g *generation) commit(ctx context.Context) error {
	g.t.mu.Lock()
	offsets := make(map[int]int64, len(g.feeds))
	for partition, f := range g.feeds {
		offsets[partition] = f.tracker.unsettled()
	}
	g.t.mu.Unlock()
	if len(offsets) == 0 {
		return nil
	}
	return g.commitAll(ctx, offsets, func() {
		for partition, offset := range offsets {
			g.feeds[partition].committed = offset
		}
	})
}

// commitAll commits offsets, renews the lease when the broker has accepted
// them, and then calls accepted with the mutex held.
func (g *generation) commitAll(ctx context.Context, offsets map[int]int64, accepted func()) error {
	select {
	case g.turn <- struct{}{}:
		defer func() { <-g.turn }()
	case <-ctx.Done():
		return fmt.Errorf("committing offsets: %w", ctx.Err())
	}
	sent := g.t.Now()
	g.t.metrics.commits.Inc()
	if err := g.gen.Commit(ctx, maps.Clone(offsets)); err != nil {
		g.t.metrics.commitFailures.Inc()
		return fmt.Errorf("committing offsets: %w", err)
	}
	g.t.mu.Lock()
	defer g.t.mu.Unlock()
	lapsed := !g.lease.valid(g.t.Now())
	g.lease.renew(sent)
	accepted()
	if lapsed {
		g.wake()
	}
	return nil
}

// watchBounds keeps the gauges of the log's bounds fresh, for nothing else
// tells when retention comes close to what is not settled yet.
func (g *generation) watchBounds(ctx context.Context) {
	for {
		pause(ctx, boundsEvery)
		if ctx.Err() != nil {
			return
		}
		g.t.mu.Lock()
		partitions := slices.Collect(maps.Keys(g.feeds))
		g.t.mu.Unlock()
		if len(partitions) == 0 {
			continue
		}
		bounds, err := g.t.Log.Bounds(ctx, partitions)
		if err != nil {
			g.t.log.Debug("asking for the bounds of the log", "error", err)
		}
		g.t.mu.Lock()
		for partition, b := range bounds {
			g.feeds[partition].bounds = b
		}
		g.t.mu.Unlock()
	}
}

// wake has the dispatcher look again.
func (g *generation) wake() {
	select {
	case g.kick <- struct{}{}:
	default:
	}
}

// loop registers a loop of this target.
func (t *Target) loop(name string) *loop { return t.Beats.loop(name + " " + t.Options.Target.Name) }

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
