// Command bench measures the worker: its processor time for each event, its
// throughput, memory and delay, against a Kafka broker and a Braze that cost it
// nothing. Everything runs on this machine, each part in a process of its own,
// so that what is reported is the worker's alone.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// cli is the command line. The hidden commands are the processes that run
// starts.
type cli struct {
	Run   runCmd   `cmd:"" default:"withargs" help:"Run the benchmarks and print one table."`
	Kafka kafkaCmd `cmd:"" hidden:"" help:"Be the broker."`
	Braze brazeCmd `cmd:"" hidden:"" help:"Be a Braze that answers at once."`
	Read  readCmd  `cmd:"" hidden:"" help:"Read a topic and do nothing else."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	command := kong.Parse(&cli{}, kong.Name("bench"),
		kong.Description("Measures the worker. What it prints holds for this machine, at this hour: compare figures of one run only."),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.BindTo(os.Stdout, (*io.Writer)(nil)))
	err := command.Run()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
