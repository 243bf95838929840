package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cohortsync/internal/app"
	"cohortsync/internal/config"
)

type configCmd struct {
	Check  configCheckCmd  `cmd:"" help:"Check the file and its secrets; report every problem at once."`
	Print  configPrintCmd  `cmd:"" help:"Print the configuration, defaults filled in and secrets redacted."`
	Schema configSchemaCmd `cmd:"" help:"Print the JSON Schema of the file, for editors."`
}

// onlinePatience is how long one look at Kafka may take: what a worker gives a
// request, too.
const onlinePatience = 10 * time.Second

type configCheckCmd struct {
	configFlag
	Online bool `help:"Look at Kafka and Braze, too: brokers, topics, rights and credentials."`
}

// Help says more than the one line.
func (configCheckCmd) Help() string {
	return `Talks to neither Kafka nor Braze unless --online is given. Problems and warnings of the file go to standard error, one line each: file:line:column: key: what is wrong; what would be right.

With --online, and a file that can be used, it looks at what a worker would need and prints one line each to standard output, as soon as it is known: ok, warning, wrong or skipped (for something that it depends on is wrong), what was looked at, what is so, and what to do. It creates, writes and commits nothing, and may be run beside workers.

Exits with 0 when all is well, warnings aside, with 1 when --online finds something wrong, and with 2 when the file cannot be used.

Example: cohortsync config check --online --config cohortsync.yaml`
}

// Run checks the file and that every secret resolves, and what is outside.
func (cmd configCheckCmd) Run(p process) error {
	c, err := cmd.load(p, true)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "%s can be used: %s, %s\n", cmd.Config,
		count(len(c.Targets), "target"), count(len(c.Syncs), "sync"))
	if err != nil || !cmd.Online {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	defer context.AfterFunc(ctx, stop)() // A second signal kills.
	return checkOnline(ctx, p, c)
}

// checkOnline prints what is found and returns an error when something of it
// is wrong, or ctx ends.
func checkOnline(ctx context.Context, p process, c *config.Config) error {
	found, wrong := 0, 0
	err := app.Check(ctx, c, app.Deps{
		Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(),
		Now: time.Now, Random: rand.Int64N, Version: p.built(),
	}, onlinePatience, func(f app.Finding) {
		fmt.Fprintln(p.stdout, f)
		found++
		if f.Level == app.Wrong {
			wrong++
		}
	})
	switch {
	case err != nil:
		return fmt.Errorf("checking online: stopped before the end: %w", context.Cause(ctx))
	case wrong > 0:
		return fmt.Errorf("checking online: %d of %d checks failed", wrong, found)
	default:
		return nil
	}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

type configPrintCmd struct{ configFlag }

// Help says more than the one line.
func (configPrintCmd) Help() string {
	return `Shows what the worker would use. References to secrets are shown as they are and resolved by nobody; plain secrets appear as <redacted>.

Example: cohortsync config print | grep linger`
}

// Run prints the file with its defaults.
func (cmd configPrintCmd) Run(p process) error {
	c, err := cmd.load(p, false)
	if err != nil {
		return err
	}
	return c.Print(p.stdout)
}

type configSchemaCmd struct{}

// Help says more than the one line.
func (configSchemaCmd) Help() string {
	return `An editor with a YAML language server completes and checks keys by it; the file's first line names it.

Example: cohortsync config schema > cohortsync.schema.json`
}

// Run prints the schema.
func (configSchemaCmd) Run(p process) error {
	schema, err := config.Schema()
	if err != nil {
		return err
	}
	_, err = p.stdout.Write(schema)
	return err
}
