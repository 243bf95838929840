// Package app wires the worker from a configuration, and starts and stops its
// parts in order.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"cohortsync/internal/braze"
	"cohortsync/internal/config"
	"cohortsync/internal/stream"
	"cohortsync/internal/stream/broker"
)

// Deps are what the worker takes from outside. All are required but Transport.
type Deps struct {
	Logger   *slog.Logger
	Registry *prometheus.Registry
	// Transport carries the requests to Braze; nil for the usual one.
	Transport http.RoundTripper
	Now       func() time.Time
	// Random returns a number in [0, n). It is called by several goroutines.
	Random  braze.Rand
	Version string
}

// App is one worker process.
type App struct {
	cfg     *config.Config
	log     *slog.Logger
	broker  *broker.Broker
	targets []*runningTarget
	health  *health
	server  *server

	newBackOff func() backoff.BackOff
}

// runningTarget is one target with what its health is asked of.
type runningTarget struct {
	*stream.Target
	membership *broker.Membership
	throttle   *braze.Throttle
}

// New wires a worker and opens its address for health and metrics, but touches
// neither Kafka nor Braze. The caller has checked that the secrets resolve.
// Whoever calls New calls Run.
func New(ctx context.Context, cfg *config.Config, deps Deps) (*App, error) {
	kafka, err := newBroker(cfg, deps)
	if err != nil {
		return nil, err
	}
	a := &App{
		cfg: cfg, log: deps.Logger, broker: kafka,
		newBackOff: func() backoff.BackOff { return braze.NewBackOff(deps.Random) },
	}
	beats := stream.NewBeats(deps.Now)
	if err := a.addTargets(cfg, deps, beats); err != nil {
		return nil, errors.Join(err, kafka.Close())
	}
	a.health = &health{beats: beats, patience: cfg.Kafka.SessionTimeout, targets: a.targetHealth(deps.Now)}
	registerProcess(deps.Registry, deps.Version)
	a.server, err = listen(ctx, cfg.HTTP.Listen, a.health, deps.Registry)
	if err != nil {
		return nil, errors.Join(err, kafka.Close())
	}
	return a, nil
}

// Addr is the address at which health and metrics are served.
func (a *App) Addr() string { return a.server.listener.Addr().String() }

// Targets returns the running targets, for who shows their state.
func (a *App) Targets() []*stream.Target {
	targets := make([]*stream.Target, len(a.targets))
	for i, t := range a.targets {
		targets[i] = t.Target
	}
	return targets
}

// Run works until ctx ends, then drains: it waits for the requests in flight,
// commits, and leaves its groups. Health and metrics are served to the end.
func (a *App) Run(ctx context.Context) error {
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	var server sync.WaitGroup
	var serveErr error
	server.Go(func() { serveErr = a.server.run(serving) })

	stopNoting := context.AfterFunc(ctx, func() { a.health.phase.Store(int32(drainingPhase)) })
	defer stopNoting()
	err := a.work(ctx)
	stopServing()
	server.Wait()
	return errors.Join(err, serveErr, a.broker.Close())
}

func (a *App) work(ctx context.Context) error {
	a.health.phase.CompareAndSwap(int32(startingPhase), int32(runningPhase))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.prepare(ctx) })
	for _, t := range a.targets {
		group.Go(func() error {
			if err := t.Run(ctx); err != nil {
				return fmt.Errorf("running target %q: %w", t.Status().Target, err)
			}
			return nil
		})
	}
	return group.Wait()
}
