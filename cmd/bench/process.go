package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// build compiles what takes part. It runs in the module's folder or below.
func build(ctx context.Context, dir string) (tools, error) {
	self, err := os.Executable()
	if err != nil {
		return tools{}, fmt.Errorf("finding this program: %w", err)
	}
	t := tools{worker: filepath.Join(dir, "cohortsync"), loadgen: filepath.Join(dir, "loadgen"), self: self}
	for binary, of := range map[string]string{t.worker: "worker", t.loadgen: "loadgen"} {
		out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "cohortsync/cmd/"+of).CombinedOutput() //nolint:gosec // Our own commands, into our own folder.
		if err != nil {
			return tools{}, fmt.Errorf("building %s: %w\n%s", of, err, out)
		}
	}
	return t, nil
}

// process is a program that runs until it is stopped.
type process struct {
	cmd *exec.Cmd
	// said is the first line that it printed: its address.
	said string
}

// start starts a program and waits for the first line that it prints.
func (b *bench) start(program string, args ...string) (*process, error) {
	cmd := exec.CommandContext(b.ctx, program, args...) //nolint:gosec // What build has built.
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", args[0], err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", args[0], err)
	}
	said, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("waiting for the address of %s: %w", args[0], err), cmd.Wait())
	}
	return &process{cmd: cmd, said: strings.TrimSpace(said)}, nil
}

// stop ends the process and waits for it.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping a process: %w", err)
	}
	return p.cmd.Wait()
}

// output runs a program to its end and returns what it printed and what it
// took.
func (b *bench) output(program string, args ...string) (string, usage, error) {
	cmd := exec.CommandContext(b.ctx, program, args...) //nolint:gosec // What build has built.
	cmd.Stderr = os.Stderr
	began := time.Now()
	out, err := cmd.Output()
	if err != nil {
		return "", usage{}, fmt.Errorf("running %s: %w", filepath.Base(program), err)
	}
	return string(out), usageOf(cmd.ProcessState, time.Since(began)), nil
}

// usage is what a process took of the machine.
type usage struct {
	cpu, wall time.Duration
	// peak is its greatest resident memory in bytes, where it is known.
	peak int64
}

func usageOf(state *os.ProcessState, wall time.Duration) usage {
	return usage{cpu: state.UserTime() + state.SystemTime(), wall: wall}
}
