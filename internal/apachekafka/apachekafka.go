//go:build unix

// Package apachekafka runs Apache Kafka as a child process: one KRaft node on
// loopback, from a folder of jars, on data that outlives it. It can be killed
// and started again.
package apachekafka

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Listener is an address on which the broker serves, and the address by which
// it sends clients of that listener to itself: their proxy's, or its own when
// it is empty.
type Listener struct{ Name, Address, Advertised string }

// Options say how a broker is run.
type Options struct {
	// Java is the command; "java" when it is empty.
	Java string
	// Jars is the folder of Apache Kafka's jars.
	Jars string
	// Dir keeps the data, the configuration and the broker's log.
	Dir string
	// Controller is the address of the controller's listener.
	Controller string
	// Listeners are those for clients. The first is the broker's own.
	Listeners []Listener
	// Settings are further server properties.
	Settings map[string]string
	// Heap is the heap's size; "400m" when it is empty.
	Heap string
}

// Broker is one broker, running or not. It belongs to one goroutine.
type Broker struct {
	options Options
	file    string
	log     *os.File
	process *exec.Cmd
	// ended is closed when the process has.
	ended chan struct{}
}

// errNoJars says how to get the jars.
var errNoJars = errors.New("there are no jars of Apache Kafka: run .ci/kafka-jars, which needs Java and Maven")

// New formats the broker's folder. The broker does not run yet.
func New(ctx context.Context, o Options) (*Broker, error) {
	if found, err := filepath.Glob(filepath.Join(o.Jars, "kafka_*.jar")); err != nil || len(found) == 0 {
		return nil, fmt.Errorf("looking into %s: %w", o.Jars, errNoJars)
	}
	if o.Java == "" {
		o.Java = "java"
	}
	if o.Heap == "" {
		o.Heap = "400m"
	}
	b := &Broker{options: o, file: filepath.Join(o.Dir, "server.properties")}
	if err := o.write(b.file); err != nil {
		return nil, err
	}
	var err error
	if b.log, err = os.OpenFile(filepath.Join(o.Dir, "kafka.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return nil, fmt.Errorf("opening the broker's log: %w", err)
	}
	format := b.java(ctx, "kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", clusterID, "-c", b.file)
	if err := format.Run(); err != nil {
		return nil, errors.Join(fmt.Errorf("formatting the broker's folder (see %s): %w", b.log.Name(), err), b.log.Close())
	}
	return b, nil
}

// java prepares a run of a class. What it prints goes to the log. It is in a
// process group of its own, so that a Ctrl-C at the terminal is not for it.
func (b *Broker) java(ctx context.Context, class string, args ...string) *exec.Cmd {
	all := append([]string{
		"-Xmx" + b.options.Heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Dlog4j2.configurationFile=" + filepath.Join(b.options.Dir, logSettings),
		"-cp", filepath.Join(b.options.Jars, "*"), class,
	}, args...)
	cmd := exec.CommandContext(ctx, b.options.Java, all...) //nolint:gosec // The caller's own Java.
	cmd.Stdout, cmd.Stderr = b.log, b.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// Start starts the broker and waits until it answers. It outlives ctx.
func (b *Broker) Start(ctx context.Context) error {
	cmd := b.java(context.WithoutCancel(ctx), "kafka.Kafka", b.file)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the broker: %w", err)
	}
	b.process, b.ended = cmd, make(chan struct{})
	go func(ended chan struct{}) {
		defer close(ended)
		_ = cmd.Wait() // How it exits after a signal is no error.
	}(b.ended)
	if err := b.awaitAnswer(ctx); err != nil {
		return errors.Join(fmt.Errorf("waiting for the broker to answer (see %s): %w", b.log.Name(), err), b.Kill())
	}
	return nil
}

func (b *Broker) awaitAnswer(ctx context.Context) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.options.Listeners[0].Address))
	if err != nil {
		return err
	}
	defer client.Close()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, time.Second)
		err := client.Ping(attempt)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-b.ended:
			return errors.New("the process has ended")
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// Running says whether the broker was started and neither killed nor stopped.
func (b *Broker) Running() bool { return b.process != nil }

// Kill ends the broker at once.
func (b *Broker) Kill() error { return b.end(syscall.SIGKILL) }

// Stop ends the broker as an operator does.
func (b *Broker) Stop() error { return b.end(syscall.SIGTERM) }

// end signals the process and waits for it.
func (b *Broker) end(signal syscall.Signal) error {
	if b.process == nil {
		return nil
	}
	cmd := b.process
	b.process = nil
	if err := cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("ending the broker: %w", err)
	}
	<-b.ended
	return nil
}

// Close kills the broker if it runs, and closes its log.
func (b *Broker) Close() error { return errors.Join(b.Kill(), b.log.Close()) }
