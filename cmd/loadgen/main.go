// Command loadgen writes cohort membership changes to Kafka, as many and as
// fast as wanted, and knows who must be in which cohort at the end.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// cli is the command line: one field for each subcommand.
type cli struct {
	Write  writeCmd  `cmd:"" default:"withargs" help:"Write membership changes to a topic (the default command)."`
	Verify verifyCmd `cmd:"" help:"Compare the expected membership with that of a simulated Braze."`
}

// process is what a subcommand may touch of the world around it.
type process struct {
	stdout io.Writer
	stderr io.Writer
	now    func() time.Time
}

// usageError is a mistake on the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second Ctrl-C is the shell's own: it ends the process at once.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], process{stdout: os.Stdout, stderr: os.Stderr, now: time.Now})
	stop()
	os.Exit(code)
}

// run is main without the process around it; it returns the exit code.
func run(ctx context.Context, args []string, p process) int {
	answered := false // --help has said all there is to say
	parser, err := kong.New(&cli{},
		kong.Name("loadgen"),
		kong.Description("Writes cohort membership changes to Kafka, and checks where they have led."),
		kong.Writers(p.stdout, p.stderr),
		kong.Exit(func(int) { answered = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(p),
	)
	if err != nil {
		return p.fail(err)
	}
	command, err := parser.Parse(args)
	if answered {
		return exitDone
	}
	if err != nil {
		return p.fail(usageError{fmt.Errorf("%w: see loadgen --help", err)})
	}
	if err := command.Run(); err != nil {
		return p.fail(err)
	}
	return exitDone
}

// fail says what went wrong and returns the exit code that goes with it.
func (p process) fail(err error) int {
	fmt.Fprintf(p.stderr, "loadgen: %v\n", err)
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	return exitFailed
}
