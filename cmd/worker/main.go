// Command cohortsync keeps Braze cohorts in step with a Kafka log.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"

	"cohortsync/internal/config"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// version is set by the linker: -ldflags "-X main.version=v1.2.3".
var version string

// cli is the command line: one field for each subcommand.
type cli struct {
	Run         runCmd         `cmd:"" help:"Keep Braze in step with Kafka until told to stop."`
	Config      configCmd      `cmd:"" help:"Check, print or describe the configuration."`
	Healthcheck healthcheckCmd `cmd:"" help:"Ask the worker of this machine whether it is healthy."`
	Version     versionCmd     `cmd:"" help:"Print the version and how the binary was built."`
}

// process is what a subcommand may touch of the world around it.
type process struct {
	stdout  io.Writer
	stderr  io.Writer
	source  config.Source
	version string
	// exit ends the process at once.
	exit func(code int)
}

// configFlag is the flag of every command that reads the file.
type configFlag struct {
	Config string `short:"c" placeholder:"FILE" default:"${config}" help:"The configuration file (default: $$COHORTSYNC_CONFIG, else cohortsync.yaml)."`
}

// load reads the file and prints its warnings; all of it has to be usable, or
// just the file itself.
func (f configFlag) load(p process, all bool) (*config.Config, error) {
	c, warnings, err := config.Load(f.Config, p.source, all)
	if len(warnings) > 0 {
		fmt.Fprintln(p.stderr, warnings)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil, usageError{fmt.Errorf("%w: name the file with --config or COHORTSYNC_CONFIG", err)}
	}
	if err != nil && !errors.As(err, new(config.Problems)) {
		return nil, usageError{err}
	}
	return c, err
}

// usageError is a mistake on the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func main() {
	os.Exit(run(os.Args[1:], process{
		stdout: os.Stdout, stderr: os.Stderr, source: config.System(), version: version,
		exit: os.Exit,
	}))
}

// run is main without the process around it; it returns the exit code.
func run(args []string, p process) int {
	answered := false // --help has said all there is to say
	file, _ := p.source.Env("COHORTSYNC_CONFIG")
	parser, err := kong.New(&cli{},
		kong.Name("cohortsync"),
		kong.Description("Keeps Braze cohorts in step with a Kafka log."),
		kong.Writers(p.stdout, p.stderr),
		kong.Exit(func(int) { answered = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Vars{"config": cmp.Or(file, "cohortsync.yaml")},
		kong.Bind(p),
	)
	if err != nil {
		return p.fail(err)
	}
	ctx, err := parser.Parse(args)
	if answered {
		return exitDone
	}
	if err != nil {
		return p.fail(usageError{fmt.Errorf("%w: see cohortsync --help", err)})
	}
	if err := ctx.Run(); err != nil {
		return p.fail(err)
	}
	return exitDone
}

// fail says what went wrong and returns the exit code that goes with it.
func (p process) fail(err error) int {
	if problems, ok := errors.AsType[config.Problems](err); ok {
		fmt.Fprintln(p.stderr, problems)
		return exitUsage
	}
	fmt.Fprintf(p.stderr, "cohortsync: %v\n", err)
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	return exitFailed
}
