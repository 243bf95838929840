//go:build unix

package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

// answers has Braze answer some requests so.
func answers(most int, statuses ...int) func(context.Context, *nemesis, *rand.Rand) (bool, error) {
	return func(ctx context.Context, n *nemesis, rng *rand.Rand) (bool, error) {
		r := rule{Status: statuses[rng.IntN(len(statuses))], Times: 1 + rng.IntN(most)}
		if r.Status == http.StatusTooManyRequests {
			// The simulated Braze's own asks for up to half a minute of patience.
			r.Headers = map[string]string{"X-Ratelimit-Retry-After": "1"}
		}
		b := n.pickBraze(rng)
		n.say("%s answers %d requests with %d", b.process.name, r.Times, r.Status)
		return true, b.misbehave(ctx, r)
	}
}

func misbehaves(kind string, most int) func(context.Context, *nemesis, *rand.Rand) (bool, error) {
	return func(ctx context.Context, n *nemesis, rng *rand.Rand) (bool, error) {
		r := rule{Kind: kind, Times: 1 + rng.IntN(most)}
		if kind == "applied_then_answer" {
			r.Status = http.StatusBadGateway
		}
		b := n.pickBraze(rng)
		n.say("%s: %s for %d requests", b.process.name, kind, r.Times)
		return true, b.misbehave(ctx, r)
	}
}

func slowCohort(ctx context.Context, n *nemesis, rng *rand.Rand) (bool, error) {
	cohort := cohortName(rng.IntN(cohorts))
	if n.stage.api == attributes {
		cohort = "cohort_" + cohort
	}
	r := rule{
		Kind: "slow", Match: match{Cohort: cohort}, Times: 3 + rng.IntN(10),
		Latency: strconv.Itoa(200+rng.IntN(700)) + "ms",
	}
	b := n.pickBraze(rng)
	n.say("%s is slow by %s for %d requests of %s", b.process.name, r.Latency, r.Times, cohort)
	return true, b.misbehave(ctx, r)
}

// lockOut has the second Braze refuse the key for a while.
func lockOut(ctx context.Context, n *nemesis, rng *rand.Rand) (bool, error) {
	b := n.stage.braze[len(n.stage.braze)-1]
	if !n.claim(b) {
		return false, nil
	}
	defer n.release(b)
	lasts := between(rng, time.Second, 4*time.Second)
	n.say("%s refuses the key for %s", b.process.name, lasts.Round(time.Millisecond))
	if err := b.takeKey(ctx, wrongSecret); err != nil {
		return true, err
	}
	pass(ctx, lasts)
	return true, b.takeKey(context.WithoutCancel(ctx), apiSecret)
}

func restartBroker(signal syscall.Signal) func(context.Context, *nemesis, *rand.Rand) (bool, error) {
	return func(ctx context.Context, n *nemesis, rng *rand.Rand) (bool, error) {
		rest := between(rng, 0, 3*time.Second)
		name, end := "SIGTERM", n.stage.broker.apache.Stop
		if signal == syscall.SIGKILL {
			name, end = "SIGKILL", n.stage.broker.apache.Kill
		}
		n.say("end Kafka by %s, start it after %s", name, rest.Round(time.Millisecond))
		if err := end(); err != nil {
			return true, err
		}
		pass(ctx, rest)
		if n.interrupted.Err() != nil {
			return true, nil
		}
		starting, cancel := context.WithTimeout(n.interrupted, time.Minute)
		defer cancel()
		began := time.Now()
		err := n.stage.broker.apache.Start(starting)
		n.say("Kafka answers again, %s after its start", time.Since(began).Round(time.Millisecond))
		if err != nil {
			// Not wrapped: its deadline is not the run's own.
			return true, errors.New("starting Kafka again: " + err.Error())
		}
		return true, nil
	}
}

func refuseLetters(ctx context.Context, n *nemesis, rng *rand.Rand) (bool, error) {
	lasts := between(rng, time.Second, 5*time.Second)
	n.say("Kafka refuses dead letters for %s", lasts.Round(time.Millisecond))
	if err := n.stage.refuseLetters(ctx, true); err != nil && ctx.Err() == nil {
		return true, err
	}
	pass(ctx, lasts)
	return true, n.stage.refuseLetters(n.interrupted, false)
}
