package stream

import (
	"context"
	"time"
)

// The bounds of how much one fetch of one partition may bring, in bytes. A
// record larger than that still comes whole.
const (
	minFetch = 16 << 10
	maxFetch = 256 << 10
)

// memory is the budget of one target in one generation. A quarter of it at
// most is set aside for what the feeds fetch; pending changes and the late
// memory share the rest.
type memory struct {
	limit int64
	used  int64
	// reserved is the part of used that is set aside for fetches.
	reserved int64
	// fetch is how many bytes a feed asks for at once.
	fetch int
	// freed is closed, and replaced, when feeds that wait may go on.
	freed   chan struct{}
	waiting int
}

func newMemory(limit int64) memory {
	return memory{limit: limit, freed: make(chan struct{})}
}

// reserve sets aside what the feeds fetch.
func (m *memory) reserve(feeds int) {
	m.fetch = int(min(max(m.limit/4/int64(feeds), minFetch), maxFetch))
	m.reserved = int64(m.fetch) * int64(feeds)
	m.used += m.reserved
}

// announce lets waiting feeds look again.
func (m *memory) announce() {
	if m.waiting > 0 {
		close(m.freed)
		m.freed = make(chan struct{})
	}
}

// hasRoom says whether a feed may keep one more identifier of about that cost.
// Late memory gives way first, oldest first. A feed may always hold one batch,
// those who rest included, and as many records, whatever the others hold:
// without that it could never move on.
func (g *generation) hasRoom(f *feed, cost int64) bool {
	m := &g.memory
	for m.used+cost > m.limit && g.late.front != 0 {
		g.forget(g.late.front)
	}
	return m.used+cost <= m.limit || f.pending+f.resting < g.schedule.maxBatch && f.tracker.length <= g.schedule.maxBatch
}

// mayRead says whether a feed may go on reading.
func (g *generation) mayRead(f *feed) bool {
	if f.held > 0 || g.t.halted {
		return false
	}
	if l := g.t.lock; l != nil && l.stopsReading() {
		return false
	}
	return g.hasRoom(f, entryCost)
}

// awaitRoom blocks until the feed may read, or until ctx ends, and then
// returns false. The caller holds the mutex; it is released while waiting.
func (g *generation) awaitRoom(ctx context.Context, f *feed) bool {
	for !g.mayRead(f) {
		freed := g.memory.freed
		g.memory.waiting++
		g.t.mu.Unlock()
		f.beat.beat()
		timer := time.NewTimer(BeatEvery)
		select {
		case <-ctx.Done():
		case <-freed:
		case <-timer.C:
		}
		timer.Stop()
		g.t.mu.Lock()
		g.memory.waiting--
		if ctx.Err() != nil {
			return false
		}
	}
	return ctx.Err() == nil
}

// remember keeps a settled entry in the late memory.
func (g *generation) remember(r ref) {
	g.store.pushBack(&g.late, r)
	if g.t.LateWindow <= 0 {
		g.forget(r)
	}
}

// forget drops a remembered entry.
func (g *generation) forget(r ref) {
	g.memory.used -= g.store.at(r).cost()
	g.store.unlink(&g.late, r)
	g.store.remove(r)
}

// expire forgets what has been remembered for the whole window.
func (g *generation) expire() {
	g.t.mu.Lock()
	defer g.t.mu.Unlock()
	before := g.t.clock(g.t.Now()) - int64(g.t.LateWindow)
	for r := g.late.front; r != 0 && g.store.at(r).arrived < before; r = g.late.front {
		g.forget(r)
	}
}
