package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// runCmd is bench run.
type runCmd struct {
	Events     int64         `default:"2000000" help:"Events in the topic, every identifier once (default: ${default})."`
	Cohorts    int           `default:"20" help:"Cohorts that share them (default: ${default})."`
	Partitions int           `default:"12" help:"Partitions of the topic (default: ${default})."`
	Many       int           `default:"500" help:"Users in a record of the topic with many (default: ${default})."`
	Idle       time.Duration `default:"30s" help:"How long the idle worker is watched (default: ${default})."`
	Steady     time.Duration `default:"20s" help:"How long 1,000 events a second go on for the delay (default: ${default})."`
	Count      int           `default:"1" help:"How many times to run it all; the table has the median of each row by its processor time (default: ${default})."`
	Only       string        `placeholder:"REGEXP" help:"Run only the rows whose name matches."`
	JSON       string        `type:"path" placeholder:"FILE" help:"Write the figures to this file, too."`
	Profile    string        `type:"path" placeholder:"DIR" help:"Have every worker write its processor profile into this folder."`
}

// Help says more than the one line.
func (runCmd) Help() string {
	return `The broker, Braze, the load and the worker are processes of their own on this machine. Processor time is the worker's, user and system; on few processors the others take their share of the wall clock, so compare rates with care.

Example: bench --only 'single|read' --json figures.json`
}

// bench is one run of all rows.
type bench struct {
	runCmd
	ctx    context.Context //nolint:containedctx // It lasts as long as the run.
	dir    string
	tools  tools
	broker string
	groups int
}

// tools are the binaries that take part.
type tools struct{ worker, loadgen, self string }

// row is one line of the table.
type row struct {
	Name string `json:"name"`
	// CPU is in microseconds an event or user, Rate in those a second.
	CPU  float64 `json:"cpu_us,omitempty"`
	Rate float64 `json:"per_second,omitempty"`
	// Requests is how many times the least possible number were sent.
	Requests float64 `json:"requests_to_least,omitempty"`
	// Memory is the peak in bytes, Bound what it may be: 64 MB, and 160 bytes for
	// each identifier that was pending or remembered.
	Memory int64 `json:"peak_bytes,omitempty"`
	Bound  int64 `json:"bound_bytes,omitempty"`
	// Note is what else there is to say.
	Note string `json:"note,omitempty"`
}

// Run runs the rows and prints the table.
func (cmd runCmd) Run(ctx context.Context, out io.Writer) (err error) {
	only, err := regexp.Compile(cmd.Only)
	if err != nil {
		return fmt.Errorf("reading --only: %w", err)
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &bench{runCmd: cmd, ctx: ctx, dir: dir}
	if b.tools, err = build(ctx, dir); err != nil {
		return err
	}
	kafka, err := b.start(b.tools.self, "kafka", "--dir", filepath.Join(dir, "kafka"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kafka.stop()) }()
	b.broker = kafka.said

	cases := slices.DeleteFunc(b.cases(), func(c benchCase) bool { return !only.MatchString(c.name) })
	rows := make([][]row, len(cases))
	for round := range max(cmd.Count, 1) {
		for i, c := range cases {
			fmt.Fprintf(os.Stderr, "%s, %d of %d ...\n", c.name, round+1, cmd.Count)
			r, err := c.run()
			if err != nil {
				return fmt.Errorf("running %q: %w", c.name, err)
			}
			r.Name = c.name
			rows[i] = append(rows[i], r)
		}
	}
	medians := make([]row, len(cases))
	for i := range rows {
		medians[i] = median(rows[i])
	}
	printTable(out, medians)
	return cmd.writeJSON(medians)
}

// median returns the middle one by processor time.
func median(rows []row) row {
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.CPU, b.CPU) })
	return rows[len(rows)/2]
}

func (cmd runCmd) writeJSON(rows []row) error {
	if cmd.JSON == "" {
		return nil
	}
	text, err := json.MarshalIndent(map[string]any{
		"events": cmd.Events, "cohorts": cmd.Cohorts, "partitions": cmd.Partitions, "users_per_record": cmd.Many,
		"go": runtime.Version(), "processors": runtime.NumCPU(), "rows": rows,
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the figures: %w", err)
	}
	if err := os.WriteFile(cmd.JSON, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the figures: %w", err)
	}
	return nil
}

func printTable(to io.Writer, rows []row) {
	fmt.Fprintf(to, "\n%-44s %10s %12s %9s %9s %9s  %s\n", "", "CPU µs", "per second", "requests", "peak MB", "bound MB", "")
	figure := func(format string, v float64) string {
		if v == 0 {
			return ""
		}
		return fmt.Sprintf(format, v)
	}
	for _, r := range rows {
		fmt.Fprintln(to, strings.TrimRight(fmt.Sprintf("%-44s %10s %12s %9s %9s %9s  %s", r.Name, figure("%.2f", r.CPU), figure("%.0f", r.Rate),
			figure("%.3f", r.Requests), figure("%.0f", float64(r.Memory)/1e6), figure("%.0f", float64(r.Bound)/1e6), r.Note), " "))
	}
}
