//go:build unix

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

// tools are the binaries that take part. Each worker has one of its own, whose
// version is its name: so the simulated Braze sees who sends.
type tools struct {
	workers        []string
	brazesim, self string
}

func workerName(i int) string { return fmt.Sprintf("worker-%d", i+1) }

// build compiles what takes part. It runs in the module's folder or below.
func build(ctx context.Context, dir string) (tools, error) {
	self, err := os.Executable()
	if err != nil {
		return tools{}, fmt.Errorf("finding this program: %w", err)
	}
	t := tools{brazesim: filepath.Join(dir, "brazesim"), self: self}
	compile := func(binary, of, version string) error {
		out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "-ldflags", "-X main.version="+version, "cohortsync/cmd/"+of).CombinedOutput() //nolint:gosec // Our own commands, into our own folder.
		if err != nil {
			return fmt.Errorf("building %s: %w\n%s", of, err, out)
		}
		return nil
	}
	if err := compile(t.brazesim, "brazesim", "chaos"); err != nil {
		return tools{}, err
	}
	for i := range workers {
		binary := filepath.Join(dir, workerName(i))
		if err := compile(binary, "worker", workerName(i)); err != nil {
			return tools{}, err
		}
		t.workers = append(t.workers, binary)
	}
	return t, nil
}

// process is a program that may be ended and started again. What it prints
// goes to a log.
type process struct {
	name    string
	program string
	args    []string
	env     []string
	log     string

	cmd   *exec.Cmd
	ended chan struct{}
}

// start starts it in a process group of its own: a Ctrl-C at the terminal is
// not for it.
func (p *process) start() error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the log of %s: %w", p.name, err)
	}
	defer log.Close()
	cmd := exec.CommandContext(context.Background(), p.program, p.args...) //nolint:gosec // What build has built.
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	ended := make(chan struct{})
	p.cmd, p.ended = cmd, ended
	go func() {
		defer close(ended)
		_ = cmd.Wait() // How it ended is in its state.
	}()
	return nil
}

// running says whether it was started and has not ended.
func (p *process) running() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

func (p *process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signalling %s: %w", p.name, err)
	}
	return nil
}

// kill ends it at once.
func (p *process) kill() error {
	if p.cmd == nil {
		return nil
	}
	err := p.signal(syscall.SIGKILL)
	<-p.ended
	return err
}

// stop ends it as an operator does. It says false when it had to be killed.
func (p *process) stop(patience time.Duration) (bool, error) {
	if p.cmd == nil {
		return true, nil
	}
	if err := p.signal(syscall.SIGTERM); err != nil {
		return false, err
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.ended:
		return true, nil
	case <-timer.C:
		return false, p.kill()
	}
}

// firstLine waits until the process has printed a line with the word, and
// returns the field after it.
func (p *process) firstLine(ctx context.Context, word string) (string, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if found := fieldAfter(p.log, word); found != "" {
			return found, nil
		}
		if !p.running() {
			return "", fmt.Errorf("waiting for the address of %s: it has ended (see %s)", p.name, p.log)
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("waiting for the address of %s: %w", p.name, ctx.Err())
		case <-tick.C:
		}
	}
}

func fieldAfter(file, word string) string {
	text, err := os.Open(file) //nolint:gosec // Our own log.
	if err != nil {
		return ""
	}
	defer text.Close()
	for lines := bufio.NewScanner(text); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 1 && fields[0] == word {
			return fields[1]
		}
	}
	return ""
}
