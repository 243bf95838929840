package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// settings are what differs between the workers of two rows.
type settings struct {
	topic, api, braze, linger string
	// from is start_from.
	from string
}

// worker is a worker's process.
type worker struct {
	cmd   *exec.Cmd
	began time.Time
	page  string
}

// work starts a worker on a topic, with a group of its own.
func (b *bench) work(s settings) (*worker, error) {
	b.groups++
	address, err := freeAddress(b.ctx)
	if err != nil {
		return nil, err
	}
	partner := "\n    partner_api_key: ${env:BENCH_KEY}"
	if s.api == "attributes" {
		partner = ""
	}
	text := fmt.Sprintf(`kafka:
  brokers: [%q]
  topic: %s
  group: bench-%d
  start_from: %s
targets:
  - name: Bench
    api: %s
    endpoint: %s
    allow_any_endpoint: true
    api_key: ${env:BENCH_KEY}%s
    rate_limit: {requests: 100000000, per: 1s, burst: 1000000}
    identifiers: [{from: user_id, to: external_id}]
syncs: [{cohort_id: "*", target: Bench}]
delivery: {linger: %s}
http: {listen: %q}
`, b.broker, s.topic, b.groups, s.from, s.api, s.braze, partner, s.linger, address)
	file := filepath.Join(b.dir, fmt.Sprintf("bench-%d.yaml", b.groups))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("writing the worker's configuration: %w", err)
	}
	args := []string{"run", "--config", file}
	if b.Profile != "" {
		args = append(args, "--cpu-profile", filepath.Join(b.Profile, fmt.Sprintf("worker-%d.pprof", b.groups)))
	}
	w := &worker{page: "http://" + address + "/metrics", began: time.Now()}
	w.cmd = exec.CommandContext(b.ctx, b.tools.worker, args...) //nolint:gosec // What build has built.
	w.cmd.Env = append(os.Environ(), "BENCH_KEY=key")
	w.cmd.Stderr = os.Stderr
	w.cmd.Cancel = func() error { return w.cmd.Process.Signal(syscall.SIGTERM) }
	if err := w.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the worker: %w", err)
	}
	return w, nil
}

func freeAddress(ctx context.Context) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}

// stop ends the worker and returns what it took in all.
func (w *worker) stop() (usage, error) {
	peak, err := w.peak()
	if err != nil {
		return usage{}, err
	}
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return usage{}, fmt.Errorf("stopping the worker: %w", err)
	}
	if err := w.cmd.Wait(); err != nil {
		return usage{}, fmt.Errorf("waiting for the worker: %w", err)
	}
	used := usageOf(w.cmd.ProcessState, time.Since(w.began))
	used.peak = peak
	return used, nil
}

// peak is the worker's greatest resident memory so far. What the kernel tells
// at the end of a process counts the one that forked it, too.
func (w *worker) peak() (int64, error) {
	file := fmt.Sprintf("/proc/%d/status", w.cmd.Process.Pid)
	status, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return 0, fmt.Errorf("reading the worker's memory: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 {
			return kib * 1024, nil
		}
	}
	return 0, fmt.Errorf("reading the worker's memory: %s does not tell", file)
}

// scrape is what a worker's metrics say at one moment.
type scrape map[string]*dto.MetricFamily

// scrape reads the metrics in the form that has native histograms.
func (w *worker) scrape(ctx context.Context) (scrape, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.page, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("asking for the metrics: %w", err)
	}
	format := expfmt.NewFormat(expfmt.TypeProtoDelim)
	req.Header.Set("Accept", string(format))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking for the metrics: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	decoder := expfmt.NewDecoder(res.Body, expfmt.ResponseFormat(res.Header))
	s := make(scrape)
	for {
		var family dto.MetricFamily
		if decoder.Decode(&family) != nil {
			return s, nil
		}
		s[family.GetName()] = &family
	}
}

// sum adds up the series of a counter or gauge.
func (s scrape) sum(name string) float64 {
	total := 0.0
	for _, m := range s[name].GetMetric() {
		total += m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return total
}

// until scrapes until done says so.
func (w *worker) until(ctx context.Context, done func(scrape) bool) (scrape, error) {
	ticker := time.NewTicker(250 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ticker.C:
		}
		s, err := w.scrape(ctx)
		if err != nil {
			continue // It has just started.
		}
		if done(s) {
			return s, nil
		}
	}
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
