//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"cohortsync/internal/chaoscheck"
)

// runCmd is chaos run.
type runCmd struct {
	Duration     time.Duration `default:"60s" help:"How long harm is done (default: ${default})."`
	Seed         uint64        `help:"Repeats the choice of harms and of the load, as far as processes can be repeated; 0 takes one from the clock."`
	Faults       []string      `placeholder:"NAME,..." help:"Only these kinds of harm."`
	API          string        `name:"api" enum:"cohorts,attributes" default:"cohorts" help:"Which API of Braze both targets use (default: ${default})."`
	Kafka        string        `enum:"apache,embedded" default:"apache" help:"apache is Apache Kafka, which takes Java and the jars of .ci/kafka-jars; embedded goes without, and so without harm to Kafka and the way to it (default: ${default})."`
	KafkaVersion string        `default:"4.3.0" help:"Which Apache Kafka (default: ${default})."`
	Patience     time.Duration `default:"3m" help:"How long the workers may take to work off the log afterwards (default: ${default})."`
	Dir          string        `type:"path" default:".cache/chaos" help:"Where each run has its folder (default: ${default})."`
	Keep         bool          `help:"Keep the folder of a run without differences, too."`
}

// errDifferences says that there are some; they are printed.
var errDifferences = errors.New("what was delivered is not what the log says")

// Run runs chaos, judges it and prints the verdict.
func (cmd runCmd) Run(ctx context.Context, out io.Writer) (err error) {
	chosen, err := choose(cmd.Faults, cmd.Kafka == "apache")
	if err != nil {
		return err
	}
	if cmd.Seed == 0 {
		cmd.Seed = uint64(time.Now().UnixNano())
	}
	s := &stage{api: cmd.API, ports: newPorts(), to: destinations(cmd.API), timing: timing{session: 5 * time.Second, drain: 3200 * time.Millisecond, request: 2 * time.Second}}
	jars := ""
	if cmd.Kafka == "apache" {
		jars = filepath.Join(".cache", "kafka", cmd.KafkaVersion)
	} else {
		s.timing.session = 6 * time.Second // It takes no shorter ones.
	}
	s.dir = filepath.Join(cmd.Dir, fmt.Sprintf("%d-%s-%s", cmd.Seed, cmd.API, cmd.Kafka))
	if err := errors.Join(os.RemoveAll(s.dir), os.MkdirAll(s.dir, 0o700)); err != nil {
		return fmt.Errorf("making the run's folder: %w", err)
	}
	log, err := os.Create(filepath.Join(s.dir, "chaos.log"))
	if err != nil {
		return fmt.Errorf("opening the run's log: %w", err)
	}
	defer log.Close()
	out = io.MultiWriter(out, log)
	fmt.Fprintf(out, "seed %d, %s API, %s Kafka, %s of harm; the run's folder is %s\n", cmd.Seed, cmd.API, cmd.Kafka, cmd.Duration, s.dir)

	defer func() {
		err = errors.Join(err, s.close())
		if !cmd.Keep && (err == nil || ctx.Err() != nil) {
			err = errors.Join(err, os.RemoveAll(s.dir))
		}
	}()
	if s.tools, err = build(ctx, s.dir); err != nil {
		return err
	}
	if err := s.start(ctx, jars, cmd.Seed); err != nil {
		return err
	}
	n := &nemesis{stage: s, interrupted: ctx, out: out, began: time.Now(), done: make(map[string]int), claimed: make(map[any]bool)}
	l := &load{rng: rand.New(rand.NewPCG(cmd.Seed, 1)), client: s.client, topic: topic}
	if err := cmd.harm(ctx, n, l, chosen); err != nil {
		return err
	}
	if err := n.quiet(ctx, cmd.Patience); err != nil {
		return err
	}
	return cmd.judge(ctx, out, n, l, chosen)
}

// harm runs load and nemesis for the run's duration.
func (cmd runCmd) harm(ctx context.Context, n *nemesis, l *load, chosen []fault) error {
	for _, w := range n.stage.workers {
		if err := w.process.start(); err != nil {
			return err
		}
	}
	ending, cancel := context.WithTimeout(ctx, cmd.Duration)
	defer cancel()
	written, told := make(chan error, 1), make(chan struct{})
	go func() { written <- l.write(ending) }()
	go func() {
		defer close(told)
		n.progress(ending, l)
	}()
	err := n.run(ending, chosen, cmd.Seed)
	<-told
	return errors.Join(err, <-written, ctx.Err())
}

// progress tells now and then how far it is.
func (n *nemesis) progress(ctx context.Context, l *load) {
	for {
		pass(ctx, 5*time.Second)
		if ctx.Err() != nil {
			return
		}
		delivered := 0
		for _, b := range n.stage.braze {
			if c, err := b.counters(ctx); err == nil {
				delivered += c.Operations.Accepted
			}
		}
		n.say("-- %d records written, %d operations accepted, %d harms done", l.records.Load(), delivered, n.harms())
	}
}

func (n *nemesis) harms() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := 0
	for _, times := range n.done {
		all += times
	}
	return all
}

// judge prints what was done and what came of it.
func (cmd runCmd) judge(ctx context.Context, out io.Writer, n *nemesis, l *load, chosen []fault) error {
	evidence, err := n.stage.evidence(ctx)
	if err != nil {
		return err
	}
	verdict := chaoscheck.Judge(*evidence)
	shown, err := chaoscheck.FindSecrets(n.stage.dir, evidence.Letters, secrets())
	if err != nil {
		return err
	}
	differences := append(append(n.differences, verdict.Differences...), shown...)

	fmt.Fprintf(out, "\n%-14s %6s\n", "harm", "times")
	for _, f := range chosen {
		fmt.Fprintf(out, "%-14s %6d\n", f.name, n.done[f.name])
	}
	fmt.Fprintf(out, "%-14s %6d\n\n", "all", n.harms())
	c := verdict.Counts
	for _, row := range []struct {
		name string
		n    int
	}{
		{"records", c.Records},
		{"of them late", int(l.late.Load())},
		{"of them undecodable", c.Undecodables},
		{"changes", c.Changes},
		{"of them late", c.Late},
		{"poisoned users", int(l.poison.Load())},
		{"(sync, identifier) pairs", c.Subjects},
		{"requests", c.Requests},
		{"operations", c.Operations},
		{"owners of partitions", c.Lives},
		{"commits", c.Commits},
		{"dead letters", c.Letters},
		{"of them distinct", c.DistinctLetters},
		{"differences", len(differences)},
	} {
		fmt.Fprintf(out, "%-26s %8d\n", row.name, row.n)
	}
	if evidence.Owners == nil {
		fmt.Fprintln(out, "not judged, for this broker keeps no log of its groups: order within an owner's life, settled before committed")
	}
	if len(differences) == 0 {
		return nil
	}
	tell(out, differences)
	fmt.Fprintf(out, "\nall logs are in %s; repeat it with --seed %s\n", n.stage.dir, strconv.FormatUint(cmd.Seed, 10))
	return errDifferences
}

// storiesTold is how many differences of a rule are told at length.
const storiesTold = 2

func tell(out io.Writer, differences []chaoscheck.Difference) {
	fmt.Fprintln(out)
	told := make(map[string]int)
	for i, d := range differences {
		fmt.Fprintf(out, "DIFFERENCE %d: %s: %s\n", i+1, d.Rule, d.What)
		if told[d.Rule]++; told[d.Rule] > storiesTold {
			continue
		}
		for _, line := range d.Story {
			fmt.Fprintln(out, "    "+line)
		}
	}
}
