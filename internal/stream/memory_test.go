package stream

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// TestTheBudgetCountsWhatTheHeapHolds compares what the budget counts for an
// identifier, a record and a cohort with what the heap grows by. The budget
// may count up to twice as much, and a tenth too little: a map that has just
// grown holds twice what it needs.
func TestTheBudgetCountsWhatTheHeapHolds(t *testing.T) {
	const n = 200_000
	tests := []struct {
		name    string
		counted func() int64
		make    func() any
	}{
		{"identifiers", func() int64 { return n * (entryCost + 24) }, func() any {
			s, c := newStore(), &cohort{}
			s.join(c)
			for i := range n {
				key := fmt.Appendf(nil, "\x00user-%018d", i)
				s.add(c, key, s.hash(key))
			}
			return s
		}},
		{"records", func() int64 { return n * markCost }, func() any {
			tr := &tracker{}
			for i := range int64(n) {
				tr.track(i, i)
			}
			return tr
		}},
		{"cohorts", func() int64 { return n * (cohortCost + 24) }, func() any {
			f := &feed{cohorts: make(map[string]*cohort)}
			turns, s := make(map[string]*turn), newStore()
			for i := range n {
				c := &cohort{id: fmt.Sprintf("cohort-%017d", i), turn: &turn{}}
				c.turn.cohorts = append(c.turn.cohorts, c)
				c.index.resize(8)
				s.join(c)
				f.cohorts[c.id], turns[c.id] = c, c.turn
			}
			return []any{f, turns, s}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := heapBytes()
			kept := tt.make()
			grown := heapBytes() - before
			runtime.KeepAlive(kept)
			counted := tt.counted()
			t.Logf("counted %d bytes each, the heap holds %d", counted/n, grown/n)
			if counted < grown*9/10 || counted > grown*2 {
				t.Errorf("counted %d bytes, the heap holds %d", counted, grown)
			}
		})
	}
}

func heapBytes() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// What an entry that rests takes of the budget is free again with its rest, and
// so is the entry itself for the late memory to forget.
func TestAFeedThatWaitsForRoomLooksAgainOnceAnEntryHasRested(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	g := &generation{t: r.target, schedule: newSchedule(3), store: newStore(), memory: newMemory(1 << 20), cooling: cooling{guard: 10}}
	c := &cohort{feed: &feed{g: g}}
	g.store.join(c)
	key := []byte("\x00u1")
	ref := g.store.add(c, key, g.store.hash(key))
	g.store.at(ref).land(1)
	g.answered(ref, 1)
	g.memory.waiting = 1
	for _, moment := range []struct {
		clock int64
		looks bool
	}{{10, false}, {11, true}} {
		freed, looks := g.memory.freed, false
		g.thaw(moment.clock)
		select {
		case <-freed:
			looks = true
		default:
		}
		if looks != moment.looks {
			t.Errorf("at %d it looks again: %v", moment.clock, looks)
		}
	}
}

func TestASettledChangeIsRememberedForTheWholeWindow(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const window = 10 * time.Minute
		for name, tt := range map[string]struct {
			window, after time.Duration
			remembered    bool
		}{
			"within it":      {window, window - 1, true},
			"at its end":     {window, window, true},
			"past it":        {window, window + 1, false},
			"without window": {0, 0, false},
		} {
			r := newRig(t, func(o *Options) { o.LateWindow = tt.window })
			g := &generation{t: r.target, store: newStore(), memory: newMemory(1 << 20)}
			c := &cohort{}
			g.store.join(c)
			key := []byte("\x00u1")
			settled := g.store.add(c, key, g.store.hash(key))
			g.memory.used += g.store.at(settled).cost()
			g.store.at(settled).land(r.target.clock(time.Now()))
			g.answered(settled, r.target.clock(time.Now()))
			time.Sleep(tt.after)
			if tt.window > 0 {
				g.expire()
			}
			if remembered := g.late.length > 0; remembered != tt.remembered || remembered != (g.memory.used > 0) {
				t.Errorf("%s: remembered %v in %d bytes", name, remembered, g.memory.used)
			}
		}
	})
}
