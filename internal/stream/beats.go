package stream

import (
	"sync"
	"time"
)

// BeatEvery is how long a healthy loop goes at most without a beat, whatever
// it waits for.
const BeatEvery = 10 * time.Second

// Beats notes when each loop last went round. A loop that waits (for Kafka,
// for Braze, for memory) still goes round; one that is stuck does not. It is
// safe for use by several goroutines.
type Beats struct {
	now func() time.Time

	mu   sync.Mutex
	last map[string]time.Time
}

// NewBeats returns Beats that read the clock through now.
func NewBeats(now func() time.Time) *Beats {
	return &Beats{now: now, last: make(map[string]time.Time)}
}

// loop is one loop's way to say that it goes round.
type loop struct {
	beats *Beats
	name  string
	ended bool
}

// loop registers a loop, with a first beat.
func (b *Beats) loop(name string) *loop {
	l := &loop{beats: b, name: name}
	l.beat()
	return l
}

// beat notes that the loop goes round. After done it does nothing.
func (l *loop) beat() {
	now := l.beats.now()
	l.beats.mu.Lock()
	defer l.beats.mu.Unlock()
	if !l.ended {
		l.beats.last[l.name] = now
	}
}

// done says that the loop has ended and need not beat any more.
func (l *loop) done() {
	l.beats.mu.Lock()
	defer l.beats.mu.Unlock()
	l.ended = true
	delete(l.beats.last, l.name)
}

// Stuck returns the loops that have not gone round for longer than limit.
func (b *Beats) Stuck(limit time.Duration) []string {
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	var stuck []string
	for loop, last := range b.last {
		if now.Sub(last) > limit {
			stuck = append(stuck, loop)
		}
	}
	return stuck
}
