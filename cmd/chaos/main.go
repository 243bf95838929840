//go:build unix

// Command chaos runs three workers against Apache Kafka and a simulated Braze
// while processes are killed, stopped and frozen, connections cut and delayed,
// and Braze misbehaves, all at random from a seed. Then it holds what was
// delivered against the log.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
)

// cli is the command line. The hidden command is a process that run starts.
type cli struct {
	Run   runCmd   `cmd:"" default:"withargs" help:"Run chaos and judge the outcome."`
	Kafka kafkaCmd `cmd:"" hidden:"" help:"Be an embedded broker."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	command := kong.Parse(&cli{}, kong.Name("chaos"), kong.Description("Harms workers, Kafka and Braze at random, and judges what was delivered."),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.BindTo(os.Stdout, (*io.Writer)(nil)))
	err := command.Run()
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case err == nil:
		os.Exit(exitDone)
	case interrupted:
		fmt.Fprintln(os.Stderr, "chaos: interrupted; everything has ended, and nothing was judged")
	case !errors.Is(err, errDifferences): // Those are printed already.
		fmt.Fprintln(os.Stderr, "chaos:", err)
	}
	os.Exit(exitFailed)
}
