//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"
)

// The actors: each harms by itself, so that harms of different kinds meet.
const (
	toWorkers = "workers"
	toLinks   = "links"
	toBraze   = "braze"
	toBroker  = "broker"
)

// fault is a kind of harm.
type fault struct {
	name, actor string
	// apache says that it takes Apache Kafka.
	apache bool
	// do harms, waits and heals. It says false when there was nothing to harm.
	do func(ctx context.Context, n *nemesis, rng *rand.Rand) (bool, error)
}

// faults are all kinds, in the order of the table.
func faults() []fault {
	return []fault{
		{"kill", toWorkers, false, kill},
		{"term", toWorkers, false, terminate},
		{"freeze", toWorkers, false, freeze},
		{"cut", toLinks, false, cut},
		{"down", toLinks, false, down},
		{"latency", toLinks, false, latency},
		{"oneway-kafka", toLinks, true, oneWay(func(w *worker, _ *rand.Rand) *link { return w.kafka }, 9*time.Second)},
		{"oneway-braze", toLinks, false, oneWay(func(w *worker, rng *rand.Rand) *link { return w.braze[rng.IntN(len(w.braze))] }, 5*time.Second)},
		{"429", toBraze, false, answers(9, http.StatusTooManyRequests)},
		{"5xx", toBraze, false, answers(9, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable)},
		{"423", toBraze, false, answers(5, http.StatusLocked)},
		{"reset", toBraze, false, misbehaves("reset", 4)},
		{"lost", toBraze, false, misbehaves("applied_then_lost", 3)},
		{"silent", toBraze, false, misbehaves("silent", 2)},
		{"error-after", toBraze, false, misbehaves("applied_then_answer", 4)},
		{"slow-cohort", toBraze, false, slowCohort},
		{"lock", toBraze, false, lockOut},
		{"broker-kill", toBroker, true, restartBroker(syscall.SIGKILL)},
		{"broker-term", toBroker, true, restartBroker(syscall.SIGTERM)},
		{"letters", toBroker, true, refuseLetters},
	}
}

// choose returns the faults that are wanted and can be had.
func choose(wanted []string, apache bool) ([]fault, error) {
	all := faults()
	var names []string
	for _, f := range all {
		names = append(names, f.name)
	}
	for _, w := range wanted {
		if !slices.Contains(names, w) {
			return nil, fmt.Errorf("there is no fault %q: there are %s", w, strings.Join(names, ", "))
		}
	}
	return slices.DeleteFunc(all, func(f fault) bool {
		return (f.apache && !apache) || (len(wanted) > 0 && !slices.Contains(wanted, f.name))
	}), nil
}

func between(rng *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(rng.Int64N(int64(to-from)))
}

func kill(ctx context.Context, n *nemesis, rng *rand.Rand) (bool, error) {
	return n.withWorker(ctx, rng, func(w *worker) error {
		rest := between(rng, 0, 3*time.Second)
		n.say("kill %s, start it after %s", w.process.name, rest.Round(time.Millisecond))
		if err := w.process.kill(); err != nil {
			return err
		}
		pass(ctx, rest)
		return n.restart(w)
	})
}

func terminate(ctx context.Context, n *nemesis, rng *rand.Rand) (bool, error) {
	return n.withWorker(ctx, rng, func(w *worker) error {
		rest := between(rng, 0, 3*time.Second)
		n.say("stop %s, start it after %s", w.process.name, rest.Round(time.Millisecond))
		if err := n.stop(w); err != nil {
			return err
		}
		pass(ctx, rest)
		return n.restart(w)
	})
}

// freeze lasts longer than the session, so that its partitions go to another.
func freeze(ctx context.Context, n *nemesis, rng *rand.Rand) (bool, error) {
	return n.withWorker(ctx, rng, func(w *worker) error {
		lasts := n.stage.timing.session + between(rng, time.Second, 3*time.Second)
		n.say("freeze %s for %s", w.process.name, lasts.Round(time.Millisecond))
		if err := w.process.signal(syscall.SIGSTOP); err != nil {
			return err
		}
		pass(ctx, lasts)
		return w.process.signal(syscall.SIGCONT)
	})
}

func cut(ctx context.Context, n *nemesis, rng *rand.Rand) (bool, error) {
	return n.cutting(ctx, rng, anyLink(n.pickWorker(rng), rng), func(l *link) error {
		n.say("cut %s", l.name)
		return errors.Join(l.cut(), l.open())
	})
}

func down(ctx context.Context, n *nemesis, rng *rand.Rand) (bool, error) {
	return n.cutting(ctx, rng, anyLink(n.pickWorker(rng), rng), func(l *link) error {
		lasts := between(rng, 500*time.Millisecond, 4*time.Second)
		n.say("cut %s and refuse connections for %s", l.name, lasts.Round(time.Millisecond))
		err := l.cut()
		pass(ctx, lasts)
		return errors.Join(err, l.open())
	})
}

// latency stays with what Braze itself takes below a request's deadline: no
// client could call back what is held for longer.
func latency(ctx context.Context, n *nemesis, rng *rand.Rand) (bool, error) {
	return n.withLink(anyLink(n.pickWorker(rng), rng), func(l *link) error {
		lasts, by := between(rng, time.Second, 4*time.Second), 20+rng.IntN(80)
		n.say("delay %s by %d ms for %s", l.name, by, lasts.Round(time.Millisecond))
		err := l.delay(by)
		pass(ctx, lasts)
		return errors.Join(err, l.heal())
	})
}

func anyLink(w *worker, rng *rand.Rand) *link {
	all := w.links()
	return all[rng.IntN(len(all))]
}

// oneWay cuts one direction between one worker and Kafka or Braze.
func oneWay(of func(*worker, *rand.Rand) *link, longest time.Duration) func(context.Context, *nemesis, *rand.Rand) (bool, error) {
	return func(ctx context.Context, n *nemesis, rng *rand.Rand) (bool, error) {
		return n.cutting(ctx, rng, of(n.pickWorker(rng), rng), func(l *link) error {
			lasts, direction := between(rng, time.Second, longest), []string{there, back}[rng.IntN(2)]
			n.say("swallow what goes %s between %s for %s", direction, l.name, lasts.Round(time.Millisecond))
			err := l.swallow(direction)
			pass(ctx, lasts)
			return errors.Join(err, l.heal())
		})
	}
}

// pass lets d pass, for it is time itself that the nemesis deals in.
func pass(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
