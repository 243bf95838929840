package stream

import (
	"context"
	"errors"
	"slices"
	"time"

	"cohortsync/internal/braze"
)

// Why a request may not start. None is success or failure: the changes stay
// where they are.
var (
	errEnded  = errors.New("the generation has ended")
	errLocked = errors.New("the target is locked")
	errLapsed = errors.New("the lease has run out: no commit was accepted in time")
)

// send carries out one flight. ctx ends with the generation; sending, which
// the requests themselves run under, ends with the drain.
func (g *generation) send(ctx, sending context.Context, f *flight) {
	admit := g.admission(ctx, f)
	if f.naming != nil {
		err := g.t.Namer.Name(sending, *f.naming, admit)
		g.named(f, err)
		return
	}
	report := g.t.Destination.Deliver(sending, f.request(f.cohort.feed.mapper), admit)
	now := g.t.Now()
	faults := g.land(f, &report, now)
	buried := true
	if len(faults) > 0 {
		buried = g.buryFaults(ctx, sending, f, faults, &report)
	}
	g.finish(f, report.Err, buried)
}

// admission returns the check before each request of one flight. The first
// request has its token already; the parts of a divided batch take their own.
// A target that was locked meanwhile lets only its probe go on. The lease is
// checked last, just before the write.
func (g *generation) admission(ctx context.Context, f *flight) braze.Admit {
	paid := true
	return func(context.Context) error {
		if !paid {
			if err := g.t.Throttle.Wait(ctx); err != nil {
				return errEnded
			}
		}
		paid = false
		if ctx.Err() != nil {
			return errEnded
		}
		g.t.mu.Lock()
		defer g.t.mu.Unlock()
		switch {
		case g.t.lock != nil && !f.probe:
			return errLocked
		case !g.lease.valid(g.t.Now()):
			return errLapsed
		default:
			return nil
		}
	}
}

// namingRequest tells Braze the cohort's present name. The caller holds the
// mutex.
func (c *cohort) namingRequest() *braze.Naming {
	return &braze.Naming{CohortID: c.id, Name: c.label(), CreatedAt: time.UnixMicro(c.nameTime).UTC()}
}

// named ends a flight that named its cohort.
func (g *generation) named(f *flight, err error) {
	if err == nil {
		g.t.mu.Lock()
		f.cohort.named = f.naming.Name
		g.t.mu.Unlock()
	}
	g.finish(f, err, true)
}

// land settles what was delivered and puts back what is to be sent again. It
// returns the items at fault, still in flight.
func (g *generation) land(f *flight, report *braze.Report, now time.Time) (faults []int) {
	g.t.mu.Lock()
	defer g.t.mu.Unlock()
	g.inFlight--
	clock := g.t.clock(now)
	delivered := func(i int) bool { return report.Outcomes[i] == braze.Delivered }
	g.t.deliveries.observe(f.items, delivered, f.cohort.feed.backfillEnd, now)
	if slices.Contains(report.Outcomes, braze.Delivered) {
		g.t.metrics.lastSuccess[f.cohort.sync.Name].Set(float64(now.UnixMilli()) / 1e3)
	}
	// Backwards, for each one put back goes to the front of the queue.
	for i := len(f.items) - 1; i >= 0; i-- {
		it := &f.items[i]
		switch report.Outcomes[i] {
		case braze.Delivered:
			// However the rest of the batch fares, Braze is there: the cohort's
			// backoff begins anew. A search for identifiers at fault takes many
			// requests, and would otherwise be put off further with each that
			// fails.
			f.cohort.retry = nil
			g.t.funnel.delivered++
			g.settleItem(f, it, clock)
		case braze.AtFault:
			faults = append(faults, i)
		default:
			g.putBack(f, it, clock)
		}
	}
	g.memory.announce()
	g.wake()
	return faults
}

// settleItem ends an item whose change is settled.
func (g *generation) settleItem(f *flight, it *flown, clock int64) {
	c := f.cohort
	c.feed.settle(it.mark)
	c.feed.count(-1)
	g.store.at(it.entry).land(clock)
	g.answered(it.entry, clock)
}

// putBack ends an item that is to be sent again, unless a newer change of its
// identifier has come meanwhile.
func (g *generation) putBack(f *flight, it *flown, clock int64) {
	c := f.cohort
	if g.store.at(it.entry).unsend(it) {
		g.t.funnel.superseded++
		c.feed.settle(it.mark)
		c.feed.count(-1)
	}
	g.answered(it.entry, clock)
}

// finish gives the cohort's turn back and draws the consequences of a failed
// request for the cohort and for the target.
func (g *generation) finish(f *flight, err error, buried bool) {
	clock := g.t.clock(g.t.Now())
	g.t.mu.Lock()
	if f.naming != nil {
		g.inFlight--
	}
	tell := g.consequences(f, err, buried, clock)
	f.cohort.turn.inFlight--
	g.reschedule(f.cohort, clock)
	g.hangar.back(f)
	g.memory.announce()
	g.t.mu.Unlock()
	g.wake()
	if tell != nil {
		tell()
	}
}

func (g *generation) consequences(f *flight, err error, buried bool, clock int64) (tell func()) {
	c := f.cohort
	if err == nil {
		if !buried {
			return nil
		}
		c.succeeded()
		if f.probe {
			return g.t.unlock(c, f.naming != nil)
		}
		return nil
	}
	class, ok := braze.ClassOf(err)
	switch {
	case !ok:
		// Our own end, the lease or a lock: neither success nor failure.
		return nil
	case class.Locks():
		return g.t.refuse(c, f.naming != nil, lockReason(class), clock, err)
	}
	if l := g.t.lock; l != nil && f.probe {
		l.postpone(clock)
	}
	g.t.metrics.retries[class].Inc()
	if class != braze.Limited { // Then the throttle holds the whole credential back until the reset.
		c.holdBack(clock, g.t.NewBackOff)
	}
	return nil
}
