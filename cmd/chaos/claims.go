//go:build unix

package main

import (
	"context"
	"math/rand/v2"
	"time"
)

// claim takes something for one harm alone.
func (n *nemesis) claim(what any) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.claimed[what] {
		return false
	}
	n.claimed[what] = true
	return true
}

func (n *nemesis) release(what any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.claimed, what)
}

func (n *nemesis) pickWorker(rng *rand.Rand) *worker { return n.stage.workers[rng.IntN(workers)] }

func (n *nemesis) pickBraze(rng *rand.Rand) *simulated {
	return n.stage.braze[rng.IntN(len(n.stage.braze))]
}

// withLink harms a link that nothing else harms at the moment.
func (n *nemesis) withLink(l *link, harm func(*link) error) (bool, error) {
	if !n.claim(l) {
		return false, nil
	}
	defer n.release(l)
	return true, harm(l)
}

// cutting is withLink for what ends connections.
func (n *nemesis) cutting(ctx context.Context, rng *rand.Rand, l *link, harm func(*link) error) (bool, error) {
	if l.kafka {
		return n.alone(ctx, rng, func() (bool, error) { return n.withLink(l, harm) })
	}
	return n.withLink(l, harm)
}

// theGroup is claimed by what makes the consumer groups form anew.
const theGroup = "the group"

// alone harms what makes the groups form anew: mostly one at a time and with a
// rest, or they would never come to deliver anything.
func (n *nemesis) alone(ctx context.Context, rng *rand.Rand, harm func() (bool, error)) (bool, error) {
	if !n.claim(theGroup) {
		if rng.IntN(6) > 0 {
			return false, nil
		}
		return harm()
	}
	defer func() {
		pass(ctx, between(rng, 0, 3*time.Second))
		n.release(theGroup)
	}()
	return harm()
}

// withWorker harms a worker whom nothing else harms at the moment.
func (n *nemesis) withWorker(ctx context.Context, rng *rand.Rand, harm func(*worker) error) (bool, error) {
	return n.alone(ctx, rng, func() (bool, error) { return n.harmWorker(ctx, n.pickWorker(rng), harm) })
}

func (n *nemesis) harmWorker(ctx context.Context, w *worker, harm func(*worker) error) (bool, error) {
	if !n.claim(w) {
		return false, nil
	}
	defer n.release(w)
	if n.stage.broker.apache == nil {
		// The embedded broker forgets to watch the session of a member that goes
		// before its group has formed, and leaves it its partitions for good.
		if !n.claim(toWorkers) {
			return false, nil
		}
		defer n.release(toWorkers)
		if err := n.stage.awaitStable(ctx); err != nil {
			return false, nil
		}
	}
	if !w.process.running() {
		n.blame("%s has ended by itself: %s (see its log)", w.process.name, w.process.cmd.ProcessState)
		return true, n.restart(w)
	}
	return true, harm(w)
}
