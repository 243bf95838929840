// Command demo shows cohortsync at work on a machine with nothing but Go: the
// real worker, between an embedded Kafka broker that keeps its data in a
// folder and a simulated Braze, with the traffic of a made-up product.
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
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"
)

// options are the demo's command line.
type options struct {
	Faults   bool          `help:"Have Braze misbehave: 429, 5xx, lost answers, locked cohorts, users it refuses."`
	Duration time.Duration `help:"Stop after this long; 0 goes on until Ctrl-C." default:"0s"`
	Rate     int           `help:"Changes a second." default:"2000"`
	Dir      string        `help:"Where the embedded broker keeps its data and the worker its log." default:"data/demo" type:"path"`
	Listen   string        `help:"Address of the worker's health and metrics." default:"127.0.0.1:8080"`
	Seed     uint64        `help:"Seed of the traffic and the faults; 0 takes one from the clock." default:"0"`
}

func main() {
	var o options
	kong.Parse(&o, kong.Name("demo"), kong.Description(
		"Runs the real worker against an embedded Kafka broker and a simulated Braze. Ctrl-C stops it; the next run goes on where this one stopped."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second Ctrl-C is the shell's own: it ends the demo at once.
	context.AfterFunc(ctx, stop)
	err := run(ctx, o, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run plays the demo until ctx ends or its time is up.
func run(ctx context.Context, o options, out io.Writer) (err error) {
	if o.Rate < 10 {
		return fmt.Errorf("--rate is %d changes a second; it takes at least 10", o.Rate)
	}
	if o.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Duration)
		defer cancel()
	}
	if o.Seed == 0 {
		o.Seed = uint64(time.Now().UnixNano())
	}
	if err := os.MkdirAll(o.Dir, 0o750); err != nil {
		return fmt.Errorf("making the demo's folder: %w", err)
	}
	logPath := filepath.Join(o.Dir, "worker.log")
	logFile, err := os.OpenFile(filepath.Clean(logPath), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the worker's log: %w", err)
	}
	defer func() { err = errors.Join(err, logFile.Close()) }()
	if err := lock(logFile); err != nil {
		return fmt.Errorf("another demo uses %s; stop it, or give this one a --dir of its own: %w", o.Dir, err)
	}

	s, err := newStage(ctx, o, slog.New(slog.NewTextHandler(logFile, nil)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	s.greet(out, o, logPath)
	began := time.Now()
	if err := s.play(ctx, o, out); err != nil {
		return err
	}
	return s.sum(out, time.Since(began))
}

// play runs worker, traffic and screen. The worker outlives the traffic, as it
// does in real life.
func (s *stage) play(ctx context.Context, o options, out io.Writer) error {
	view := &screen{out: out, terminal: isTerminal(out), began: time.Now()}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.worker.Run(ctx) })
	group.Go(func() error {
		t := &traffic{
			writer: s.writer, cohorts: demoCohorts(), rate: o.Rate,
			rng: rand.New(rand.NewPCG(o.Seed, 2)),
		}
		if o.Faults {
			t.bad = 0.0001
		}
		return t.run(ctx)
	})
	group.Go(func() error { return s.show(ctx, view, o.Faults) })
	return group.Wait()
}

// show refreshes the screen every second, or every five where it cannot be
// refreshed in place.
func (s *stage) show(ctx context.Context, view *screen, faults bool) error {
	every, note := time.Second, ""
	if !view.terminal {
		every = 5 * time.Second
	}
	if faults {
		note = "  Braze misbehaves (--faults)"
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		f, err := read(s.registry)
		if err != nil {
			return err
		}
		view.show(f, s.members(), note)
	}
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
