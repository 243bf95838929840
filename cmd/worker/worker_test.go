//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// worker is one process of the binary. It belongs to one goroutine.
type worker struct {
	binary, config string
	// output is the file that both streams of all its runs go to.
	output string
	from   int64
	cmd    *exec.Cmd
	exited chan error
}

func goCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	return exec.CommandContext(t.Context(), "go", args...)
}

// newWorker prepares a worker and sees to its end: whatever it has printed by
// then holds no secret.
func newWorker(t *testing.T, binary, config string) *worker {
	t.Helper()
	w := &worker{binary: binary, config: config, output: filepath.Join(t.TempDir(), "output")}
	t.Cleanup(func() {
		w.kill(t)
		requireNoSecret(t, w.all(t))
		if t.Failed() {
			t.Logf("the end of a worker's output:\n%s", tail(w.all(t), 8000))
		}
	})
	return w
}

// start runs a command of the binary, normally run.
func (w *worker) start(t *testing.T, command ...string) {
	t.Helper()
	if len(command) == 0 {
		command = []string{"run"}
	}
	out, err := os.OpenFile(w.output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	w.from, err = out.Seek(0, io.SeekEnd)
	require.NoError(t, err)
	// Its life is its own: the tests end it with signals.
	w.cmd = exec.CommandContext(context.Background(), w.binary, append(command, "--config", w.config)...)
	w.cmd.Env = append(os.Environ(), "PARTNER_KEY="+partnerSecret, "API_KEY="+apiSecret, "SASL_PASSWORD="+saslSecret)
	w.cmd.Stdout, w.cmd.Stderr = out, out
	require.NoError(t, w.cmd.Start())
	require.NoError(t, out.Close())
	exited := make(chan error, 1)
	w.exited = exited
	go func(cmd *exec.Cmd) { exited <- cmd.Wait() }(w.cmd)
}

func (w *worker) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	require.NoError(t, w.cmd.Process.Signal(s))
}

// wait waits for the process's end and returns its exit code, -1 when a signal
// has killed it.
func (w *worker) wait(t *testing.T) int {
	t.Helper()
	eventually(t, func() string {
		if len(w.exited) == 0 {
			return "the worker goes on"
		}
		return ""
	})
	<-w.exited
	w.exited = nil
	return w.cmd.ProcessState.ExitCode()
}

// running says that the process has not ended.
func (w *worker) running() bool { return w.exited != nil && len(w.exited) == 0 }

// kill ends the process, unless it has ended, as kill -9 does.
func (w *worker) kill(t *testing.T) {
	t.Helper()
	if w.exited == nil {
		return
	}
	// It fails when the process has just ended by itself.
	_ = w.cmd.Process.Kill()
	w.wait(t)
}

// all is what all runs have printed.
func (w *worker) all(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(w.output)
	if os.IsNotExist(err) {
		return ""
	}
	require.NoError(t, err)
	return string(text)
}

// printed is what the last run has printed.
func (w *worker) printed(t *testing.T) string {
	t.Helper()
	return w.all(t)[w.from:]
}

// says waits until the last run has printed a text.
func (w *worker) says(t *testing.T, text string) {
	t.Helper()
	eventually(t, func() string {
		if strings.Contains(w.printed(t), text) {
			return ""
		}
		require.True(t, w.running(), "the worker has ended and not said: %s", text)
		return "the worker has not said: " + text
	})
}

// address waits until the worker serves its pages and returns where.
func (w *worker) address(t *testing.T) string {
	t.Helper()
	address := ""
	eventually(t, func() string {
		for line := range strings.SplitSeq(w.printed(t), "\n") {
			var entry struct{ Msg, HTTP string }
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "started" {
				address = entry.HTTP
				return ""
			}
		}
		require.True(t, w.running(), "the worker has ended before it started")
		return "the worker has not started"
	})
	return address
}

// get fetches one of the worker's pages, which holds no secret.
func (w *worker) get(t *testing.T, page string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.address(t)+page, nil)
	require.NoError(t, err)
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	var text bytes.Buffer
	_, err = text.ReadFrom(response.Body)
	require.NoError(t, err)
	requireNoSecret(t, text.String())
	return response.StatusCode, text.String()
}

// ready waits until the worker says that it is.
func (w *worker) ready(t *testing.T) {
	t.Helper()
	eventually(t, func() string {
		if status, body := w.get(t, "/readyz"); status != http.StatusOK {
			return body
		}
		return ""
	})
}

// pending waits until so many changes are not settled.
func (w *worker) pending(t *testing.T, n int) {
	t.Helper()
	eventually(t, func() string {
		var page struct{ Targets []struct{ Pending int } }
		_, body := w.get(t, "/readyz")
		require.NoError(t, json.Unmarshal([]byte(body), &page))
		if len(page.Targets) == 1 && page.Targets[0].Pending == n {
			return ""
		}
		return body
	})
}

func requireNoSecret(t *testing.T, text string) {
	t.Helper()
	for _, secret := range []string{partnerSecret, apiSecret, saslSecret} {
		at := strings.Index(text, secret)
		require.Negative(t, at, "a secret is shown: %s", text[max(0, at-200):max(0, at)])
	}
}

func tail(text string, n int) string {
	lines := strings.Split(text[max(0, len(text)-n):], "\n")
	return strings.Join(slices.Clip(lines), "\n")
}
