package stream

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"cohortsync/internal/braze"
)

func simTiming() Timing {
	return Timing{
		SessionTimeout: 30 * time.Second, RebalanceTimeout: 30 * time.Second, HeartbeatInterval: 3 * time.Second,
		DrainTimeout: 20 * time.Second, CommitInterval: time.Second,
	}
}

// simWorker is one worker process. Killing it keeps its goroutines but takes
// away all effect they have, as SIGKILL does; freezing it holds every step it
// takes until it thaws.
type simWorker struct {
	number int
	// late is how long after a thaw the first heartbeat is answered.
	late   time.Duration
	target *Target
	// wire carries its requests to Braze.
	wire http.RoundTripper
	stop context.CancelFunc
	done chan struct{}
	dead atomic.Bool

	mu   sync.Mutex
	thaw chan struct{}
}

var errDead = errors.New("the process is dead")

func (w *simWorker) gate(ctx context.Context) error {
	for {
		w.mu.Lock()
		thaw := w.thaw
		w.mu.Unlock()
		if w.dead.Load() {
			return errDead
		}
		if thaw == nil {
			return ctx.Err()
		}
		<-thaw
	}
}

func (w *simWorker) frozen() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.thaw != nil
}

func (w *simWorker) freeze() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.thaw == nil {
		w.thaw = make(chan struct{})
	}
}

func (w *simWorker) unfreeze() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.thaw != nil {
		close(w.thaw)
		w.thaw = nil
	}
}

// kill is SIGKILL: no drain, no last commit, no leaving of the group. What is
// on its way to Braze stays on its way.
func (w *simWorker) kill() {
	w.dead.Store(true)
	w.unfreeze()
	time.AfterFunc(2*time.Minute, w.stop)
}

// RoundTrip lets nothing leave a dead process.
func (w *simWorker) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.dead.Load() {
		return nil, errDead
	}
	return w.wire.RoundTrip(r)
}

// lockedRand shares a source of randomness between goroutines.
func lockedRand(rng *rand.Rand) braze.Rand {
	var mu sync.Mutex
	return func(n int64) int64 {
		mu.Lock()
		defer mu.Unlock()
		return rng.Int64N(n)
	}
}
