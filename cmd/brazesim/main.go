// Command brazesim serves a simulated Braze: both APIs that cohortsync speaks,
// an admin API to look into it and to make it misbehave, and a page that shows
// all of that in a browser.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"cohortsync/internal/healthcheck"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

const description = `Serves a simulated Braze for trying things out and for load tests: the cohorts API and the attributes API, with Braze's limits, error texts, rate-limit headers and ways to fail. Nothing that is sent to it reaches Braze.

It keeps everything in memory. A page for a browser is at /, the admin API under /admin, metrics at /metrics; docs/brazesim.md describes them, and what it does not simulate. Ctrl-C stops it.

Example: brazesim --latency=50ms --server-error=0.01 --known-prefix=user-`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second Ctrl-C is the shell's own: it ends the process at once.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without the process around it; it serves until ctx ends and
// returns the exit code.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	var o options
	answered := false // --help has said all there is to say
	parser, err := kong.New(&o,
		kong.Name("brazesim"),
		kong.Description(description),
		kong.Writers(out, errs),
		kong.Exit(func(int) { answered = true }),
		kong.ConfigureHelp(kong.HelpOptions{WrapUpperBound: 100}),
		kong.ExplicitGroups([]kong.Group{{
			Key: "faults", Title: "Faults, to begin with; the admin API and the page change them:",
			Description: "The probabilities are from 0 to 1 and tried in this order.",
		}}),
	)
	if err != nil {
		return fail(errs, err, exitFailed)
	}
	_, err = parser.Parse(args)
	if answered {
		return exitDone
	}
	if err == nil {
		err = o.check()
	}
	if err != nil {
		return fail(errs, fmt.Errorf("%w: see brazesim --help", err), exitUsage)
	}
	do := serve
	if o.Healthcheck {
		do = askHealth
	}
	if err := do(ctx, o, out); err != nil {
		return fail(errs, err, exitFailed)
	}
	return exitDone
}

// askHealth asks the brazesim that serves at --listen.
func askHealth(ctx context.Context, o options, out io.Writer) error {
	address, err := healthcheck.Address(o.Listen)
	if err != nil {
		return err
	}
	if err := healthcheck.Ask(ctx, address); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s is healthy\n", address)
	return err
}

func fail(errs io.Writer, err error, code int) int {
	fmt.Fprintf(errs, "brazesim: %v\n", err)
	return code
}
