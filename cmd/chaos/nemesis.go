//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"cohortsync/internal/chaoscheck"
)

// nemesis harms. It is safe for concurrent use: each of its actors is a
// goroutine, and so is each harm that lasts.
type nemesis struct {
	stage *stage
	// interrupted ends when the user ends the run: then nothing is healed.
	interrupted context.Context //nolint:containedctx // It lasts as long as the run.
	out         io.Writer
	began       time.Time

	mu      sync.Mutex
	done    map[string]int
	claimed map[any]bool
	// differences are what processes did that they should not.
	differences []chaoscheck.Difference
	failed      error
}

// pace is how often an actor harms, on average.
func pace(actor string) time.Duration {
	switch actor {
	case toWorkers:
		return 3 * time.Second
	case toLinks:
		return 1100 * time.Millisecond
	case toBraze:
		return 900 * time.Millisecond
	default:
		return 15 * time.Second
	}
}

// run harms until ctx ends and returns once all harm is healed.
func (n *nemesis) run(ctx context.Context, chosen []fault, seed uint64) error {
	var actors, harms sync.WaitGroup
	for i, actor := range []string{toWorkers, toLinks, toBraze, toBroker} {
		kinds := slices.DeleteFunc(slices.Clone(chosen), func(f fault) bool { return f.actor != actor })
		if len(kinds) == 0 {
			continue
		}
		rng := rand.New(rand.NewPCG(seed, uint64(i)+10))
		actors.Go(func() {
			for {
				pass(ctx, between(rng, pace(actor)/2, pace(actor)*3/2))
				if ctx.Err() != nil {
					return
				}
				f, own := kinds[rng.IntN(len(kinds))], rand.New(rand.NewPCG(rng.Uint64(), 0))
				harm := func() { n.harm(ctx, f, own) }
				if actor == toBroker {
					harm() // There is one broker.
				} else {
					harms.Go(harm)
				}
			}
		})
	}
	actors.Wait()
	harms.Wait()
	return n.failed
}

func (n *nemesis) harm(ctx context.Context, f fault, rng *rand.Rand) {
	did, err := f.do(ctx, n, rng)
	n.mu.Lock()
	defer n.mu.Unlock()
	if did {
		n.done[f.name]++
	}
	if err != nil && n.interrupted.Err() == nil && !errors.Is(err, context.DeadlineExceeded) {
		n.failed = errors.Join(n.failed, fmt.Errorf("harming by %s: %w", f.name, err))
	}
}

func (n *nemesis) say(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fmt.Fprintf(n.out, "%s %6.1fs  %s\n", time.Now().UTC().Format("15:04:05.000"), time.Since(n.began).Seconds(), fmt.Sprintf(format, args...))
}

func (n *nemesis) blame(format string, args ...any) {
	n.say("DIFFERENCE: "+format, args...)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.differences = append(n.differences, chaoscheck.Difference{Rule: "processes", What: fmt.Sprintf(format, args...)})
}

// stop ends a worker as an operator does.
func (n *nemesis) stop(w *worker) error {
	in, err := w.process.stop(stopPatience)
	if err == nil && !in {
		n.blame("%s did not stop within %s of SIGTERM", w.process.name, stopPatience)
	}
	return err
}

// restart starts a worker again, unless the user has ended the run.
func (n *nemesis) restart(w *worker) error {
	if n.interrupted.Err() != nil {
		return nil //nolint:nilerr // There is nobody to start it for.
	}
	return w.process.start()
}

// stopPatience is how long a worker may take to stop: its drain, and joins that
// are under way.
const stopPatience = 30 * time.Second
