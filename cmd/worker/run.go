package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cohortsync/internal/app"
	"cohortsync/internal/config"
)

// runCmd is cohortsync run.
type runCmd struct {
	configFlag
	// CPUProfile is for the benchmarks, and for whoever looks into a slow worker.
	CPUProfile string `name:"cpu-profile" hidden:"" type:"path" placeholder:"FILE" help:"Write a processor profile to this file."`
}

// Help is shown below the command's flags.
func (runCmd) Help() string {
	return `Reads cohort changes from Kafka and sends them to Braze until it is told to stop.

SIGTERM or Ctrl-C: finishes the requests in flight, commits, leaves its groups and
exits with 0. A second one stops at once, with 1, and leaves the groups to notice by
the session timeout. /healthz, /readyz and /metrics are served at http.listen.

Example: cohortsync run --config cohortsync.yaml`
}

// Run works until a signal comes.
func (cmd runCmd) Run(p process) (err error) {
	cfg, err := cmd.load(p, true)
	if err != nil {
		return err
	}
	tune(p.source.Env, int64(cfg.Delivery.MaxMemory))
	stopProfile, err := profile(cmd.CPUProfile)
	if err != nil {
		return usageError{err}
	}
	defer func() { err = errors.Join(err, stopProfile()) }()
	logger := newLogger(p.stderr, cfg.Log)
	version := p.built()
	ctx, stop := untilSignal(context.Background(), logger, p.exit)
	defer stop()
	worker, err := app.New(ctx, cfg, app.Deps{
		Logger: logger, Registry: prometheus.NewRegistry(), Now: time.Now, Random: rand.Int64N,
		Version: version,
	})
	if err != nil {
		return err
	}
	logger.Info("started", "version", version, "http", worker.Addr(),
		"targets", len(cfg.Targets), "syncs", len(cfg.Syncs))
	if err := worker.Run(ctx); err != nil {
		return fmt.Errorf("running the worker: %w", err)
	}
	logger.Info("stopped")
	return nil
}

// gcPercent has the garbage collector run when the heap has grown by a half. A
// cycle is cheap, for most of what the worker keeps holds no pointers, and
// memory that is counted in max_memory should not be taken twice over.
const gcPercent = 50

// tune sets what GOGC and GOMEMLIMIT do not. The limit leaves room for what
// max_memory does not count: connections, requests, the runtime, and what the
// collector has not come to yet.
func tune(env func(string) (string, bool), maxMemory int64) {
	if _, given := env("GOGC"); !given {
		debug.SetGCPercent(gcPercent)
	}
	if _, given := env("GOMEMLIMIT"); !given {
		debug.SetMemoryLimit(maxMemory + maxMemory/8 + 48<<20)
	}
}

// profile starts a processor profile, unless path is empty.
func profile(path string) (stop func() error, err error) {
	if path == "" {
		return func() error { return nil }, nil
	}
	file, err := os.Create(filepath.Clean(path))
	if err != nil {
		return nil, fmt.Errorf("making the processor profile: %w", err)
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the processor profile: %w", err), file.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return file.Close()
	}, nil
}

func newLogger(w io.Writer, c config.Log) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.Level}
	if c.Format == "text" {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// untilSignal returns a context that ends with the first SIGTERM or SIGINT. The
// second one exits at once: nobody leaves the groups then, so that the session
// timeout keeps their partitions from the next owner until this process's
// requests are over.
func untilSignal(parent context.Context, logger *slog.Logger, exit func(int)) (context.Context, func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			case s := <-signals:
				if n > 0 {
					logger.Error("stopped at once by a second signal; what was not committed is sent again", "signal", s.String())
					exit(exitFailed)
					return
				}
				logger.Info("stopping: finishing the requests in flight; a second signal stops at once", "signal", s.String())
				cancel()
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		<-ended
		cancel()
	}
}
