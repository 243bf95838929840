//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"cohortsync/internal/chaoscheck"
)

// quiet ends all that is left of the harm, waits until every group has
// committed the end of the log, and stops the workers. What does not happen in
// time is blamed; the evidence is judged all the same.
func (n *nemesis) quiet(ctx context.Context, patience time.Duration) error {
	s := n.stage
	for _, b := range s.braze {
		if err := b.behave(ctx); err != nil {
			return err
		}
	}
	for _, w := range s.workers {
		if !w.process.running() {
			n.blame("%s has ended by itself: %s (see its log)", w.process.name, w.process.cmd.ProcessState)
			if err := w.process.start(); err != nil {
				return err
			}
		}
	}
	behind := func() (string, error) {
		found, err := chaoscheck.Behind(ctx, s.client, topic, s.targets())
		return strings.Join(found, "; "), err
	}
	began := time.Now()
	if missing := await(ctx, patience, behind); missing != "" {
		n.blame("the log is not worked off within %s: %s", patience, missing)
	}
	n.say("the log was worked off after %s", time.Since(began).Round(time.Millisecond))
	for _, b := range s.braze {
		if missing := await(ctx, 10*time.Second, func() (string, error) {
			c, err := b.counters(ctx)
			if err != nil || (c.InFlight == 0 && c.Operations.Due == 0) {
				return "", err
			}
			return fmt.Sprintf("%+v", c), nil
		}); missing != "" {
			n.blame("%s is still busy: %s", b.process.name, missing)
		}
	}
	for _, w := range s.workers {
		if err := n.stop(w); err != nil {
			return err
		}
		if code := w.process.cmd.ProcessState.ExitCode(); code != exitDone {
			n.blame("%s stopped with exit code %d", w.process.name, code)
		}
	}
	return ctx.Err()
}

// await asks until nothing is missing, and returns what is.
func await(ctx context.Context, patience time.Duration, missing func() (string, error)) string {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		what, err := missing()
		if err != nil {
			what = err.Error()
		}
		if what == "" {
			return ""
		}
		select {
		case <-ctx.Done():
			return what
		case <-tick.C:
		}
	}
}

func (s *stage) targets() []chaoscheck.Target {
	var all []chaoscheck.Target
	for _, d := range s.to {
		all = append(all, d.target(s.api))
	}
	return all
}

// evidence collects what the workers did.
func (s *stage) evidence(ctx context.Context) (*chaoscheck.Evidence, error) {
	e := &chaoscheck.Evidence{Targets: s.targets(), Poison: poison, RequestTimeout: s.timing.request, Braze: make(map[string]*chaoscheck.History)}
	if err := e.ReadKafka(ctx, s.broker.address, topic, deadLetters); err != nil {
		return nil, err
	}
	for i, b := range s.braze {
		h, err := chaoscheck.ReadBraze(ctx, b.requests, b.address)
		if err != nil {
			return nil, err
		}
		e.Braze[s.to[i].name] = h
	}
	return e, nil
}

// awaitStable waits until all workers are members of every group.
func (s *stage) awaitStable(ctx context.Context) error {
	missing := await(ctx, time.Minute, func() (string, error) {
		ask := kmsg.NewPtrDescribeGroupsRequest()
		for _, t := range s.targets() {
			ask.Groups = append(ask.Groups, t.Group)
		}
		answer, err := ask.RequestWith(ctx, s.client)
		if err != nil {
			return "", err
		}
		for _, g := range answer.Groups {
			if g.State != "Stable" || len(g.Members) != workers {
				return fmt.Sprintf("%s is %s with %d members", g.Group, g.State, len(g.Members)), nil
			}
		}
		return "", nil
	})
	if missing != "" {
		return errors.New(missing)
	}
	return ctx.Err()
}
