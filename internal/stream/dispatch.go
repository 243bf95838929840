package stream

import (
	"context"
	"time"
)

// dispatch sends one batch after another, the cohort with the oldest deadline
// first, until the generation ends.
func (g *generation) dispatch(ctx, sending context.Context) {
	loop := g.t.loop("dispatch")
	defer loop.done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var throttledSince time.Time
	for ctx.Err() == nil {
		loop.beat()
		wait, throttled := g.step(ctx, sending)
		throttledSince = g.countThrottled(throttledSince, throttled)
		if wait == 0 {
			continue
		}
		kick := g.kick
		if throttled {
			// Nothing that happens here lets the throttle go sooner.
			kick = nil
		}
		timer.Reset(min(wait, BeatEvery))
		select {
		case <-ctx.Done():
		case <-kick:
		case <-timer.C:
		}
	}
}

func (g *generation) countThrottled(since time.Time, throttled bool) time.Time {
	now := g.t.Now()
	if !since.IsZero() {
		g.t.metrics.throttleWait.Add(now.Sub(since).Seconds())
	}
	if throttled {
		return now
	}
	return time.Time{}
}

// step launches the next request and returns 0, or returns how long to wait.
// The token is taken before the batch: while the throttle holds everything up,
// the pending set goes on coalescing.
func (g *generation) step(ctx, sending context.Context) (wait time.Duration, throttled bool) {
	g.t.mu.Lock()
	c, wait := g.choose(g.t.Now())
	g.t.mu.Unlock()
	if c == nil {
		return wait, false
	}
	if wait := g.t.Throttle.Take(); wait > 0 {
		return wait, true
	}

	now := g.t.Now()
	g.t.mu.Lock()
	defer g.t.mu.Unlock()
	c, wait = g.choose(now)
	if c == nil {
		// A lock or a lapsed lease came between; the token is spent in vain.
		return wait, false
	}
	f := g.launch(c, now)
	g.sends.Go(func() { g.send(ctx, sending, f) })
	return 0, false
}

// choose returns the cohort whose request may leave now, or how long to wait
// at most before looking again.
func (g *generation) choose(now time.Time) (*cohort, time.Duration) {
	g.thaw(g.t.clock(now))
	if g.inFlight >= g.t.Options.Target.MaxInFlight || !g.lease.valid(now) {
		return nil, BeatEvery
	}
	clock := g.t.clock(now)
	if wait := g.quietUntil - clock; wait > 0 {
		return nil, time.Duration(wait)
	}
	if l := g.t.lock; l != nil {
		return g.chooseProbe(l, clock)
	}
	c, at := g.next(clock)
	if c != nil {
		return c, 0
	}
	if at == 0 {
		return nil, BeatEvery
	}
	return nil, time.Duration(at - clock)
}

// chooseProbe returns the cohort whose request was refused, alone and at
// growing intervals. In a new generation the refused request is not known any
// more; the first that is due takes its place.
func (g *generation) chooseProbe(l *lock, clock int64) (*cohort, time.Duration) {
	if g.inFlight > 0 {
		return nil, BeatEvery
	}
	if wait := l.probeAt - clock; wait > 0 {
		return nil, time.Duration(wait)
	}
	if c := l.refused; c != nil && !c.turn.taken() {
		if c.queue.length > 0 {
			return c, 0
		}
		if rest := g.cooling.next(); rest != 0 {
			return nil, time.Duration(rest - clock)
		}
	}
	c, at := g.next(clock)
	if c != nil {
		l.refused = c
		return c, 0
	}
	if at == 0 {
		if l.refused != nil {
			// What was refused has gone away: reading goes on until there is
			// something to probe with.
			l.refused = nil
			g.memory.announce()
		}
		return nil, BeatEvery
	}
	return nil, max(time.Duration(at-clock), time.Millisecond)
}

// launch takes the next request out of a cohort. A cohort is named before its
// first members and whenever its name has changed.
func (g *generation) launch(c *cohort, now time.Time) *flight {
	clock := g.t.clock(now)
	f := g.hangar.take()
	f.cohort, f.probe = c, g.t.lock != nil
	if c.needsNaming() {
		f.naming = c.namingRequest()
	} else {
		reason := c.leaves(g.schedule.maxBatch)
		c.take(g.schedule.maxBatch, f)
		g.t.metrics.batches[reason].Inc()
		g.t.metrics.batchSize.Observe(float64(len(f.items)))
		c.sent = clock
	}
	c.turn.inFlight++
	g.inFlight++
	g.reschedule(c, clock)
	return f
}

// reschedule updates a cohort and those that share its turn.
func (g *generation) reschedule(c *cohort, clock int64) {
	for _, other := range c.turn.cohorts {
		g.schedule.update(other, clock)
	}
}
