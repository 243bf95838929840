package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"cohortsync/internal/app"
	"cohortsync/internal/braze/brazetest"
	"cohortsync/internal/catalog"
	"cohortsync/internal/config"
	"cohortsync/internal/kafkatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(kafkatest.Main(m)) }

const (
	// inTime is how long what must happen may take on a busy machine.
	inTime = 60 * time.Second
	often  = 20 * time.Millisecond

	partnerKey = "the-partner-key-that-nobody-may-see"
	apiKey     = "the-import-key-that-nobody-may-see"
)

// target is one target of a test's configuration; empty fields take what suits
// most tests.
type target struct {
	name, endpoint, apiKey string
	// api is cohorts unless it says otherwise.
	api string
	// cohorts are the syncs; none takes every cohort.
	cohorts []string
	// more is further lines of the target.
	more string
}

// setup is a test's configuration.
type setup struct {
	// cluster is the broker; where there is none, address is what stands for it.
	cluster kafkatest.Broker
	address string
	targets []target
	// kafka and delivery are further lines of their blocks.
	kafka, delivery string
}

// broker returns the broker's address.
func (s setup) broker() string {
	if s.cluster != nil {
		return s.cluster.ListenAddrs()[0]
	}
	return s.address
}

// config reads the configuration from text, as a user's is read. The times are
// short, but long against kfake's rebalances.
func (s setup) config(t *testing.T) *config.Config {
	t.Helper()
	name := func(name string) string { return name }
	if s.cluster != nil {
		name = s.cluster.Name
	}
	var b strings.Builder
	fmt.Fprintf(&b, `
kafka:
  brokers: [%q]
  topic: %s
  group: %s
  session_timeout: 6s
  rebalance_timeout: 5s
  heartbeat_interval: 100ms
  drain_timeout: 4s
  commit_interval: 100ms
%s
delivery: {linger: 20ms%s}
http: {listen: "127.0.0.1:0"}
targets:
`, s.broker(), name(topic), name("cohortsync"), s.kafka, s.delivery)
	for _, target := range s.targets {
		key := target.apiKey
		if key == "" {
			key = "${env:API_KEY}"
		}
		api := "api: cohorts\n    partner_api_key: ${env:PARTNER_KEY}"
		devices := "\n      - {from: device_id, to: device_id}"
		if target.api != "" {
			api, devices = "api: "+target.api, ""
		}
		fmt.Fprintf(&b, `
  - name: %s
    endpoint: %s
    allow_any_endpoint: true
    %s
    api_key: %s
    request_timeout: 1500ms
    identifiers:
      - {from: user_id, to: external_id}%s
      - {from: user_properties.crm_id, to: user_alias, label: crm}
%s
`, target.name, target.endpoint, api, key, devices, target.more)
	}
	b.WriteString("syncs:\n")
	for _, target := range s.targets {
		cohorts := target.cohorts
		if len(cohorts) == 0 {
			cohorts = []string{"*"}
		}
		for _, id := range cohorts {
			fmt.Fprintf(&b, "  - {name: %q, cohort_id: %q, target: %s}\n", "sync of "+id, id, target.name)
		}
	}
	keys := map[string]string{"PARTNER_KEY": partnerKey, "API_KEY": apiKey, "OTHER_KEY": "another-key-that-nobody-may-see", "SASL_PASSWORD": kafkaPassword}
	cfg, _, err := config.Parse("test.yaml", []byte(b.String()), config.Source{
		Env:      func(name string) (string, bool) { v, ok := keys[name]; return v, ok },
		ReadFile: os.ReadFile,
	})
	require.NoError(t, err)
	return cfg
}

// worker is the whole worker in this process.
type worker struct {
	*app.App
	registry *prometheus.Registry
	logs     *lines

	stop    context.CancelFunc
	stopped chan struct{}
	err     error
}

// logged waits for a line with all these parts to be there so many times, and no
// more: what is logged comes a moment after what the metrics show.
func (w *worker) logged(t *testing.T, times int, parts ...string) {
	t.Helper()
	eventually(t, func() bool { return w.logs.count(parts...) >= times }, "%q is logged %d times", parts, times)
	require.Equal(t, times, w.logs.count(parts...), "%q", parts)
}

// start runs a worker until the end of the test.
func start(t *testing.T, s setup, change ...func(*app.Deps)) *worker {
	t.Helper()
	w := &worker{registry: prometheus.NewRegistry(), logs: &lines{}, stopped: make(chan struct{})}
	deps := app.Deps{
		Logger: slog.New(slog.NewJSONHandler(w.logs, nil)), Registry: w.registry, Now: time.Now, Version: "test",
		// A tenth of the jitter: a test waits for few retries, not for rare ones.
		Random: func(n int64) int64 { return rand.Int64N(n) / 10 },
	}
	for _, c := range change {
		c(&deps)
	}
	var idle func()
	if deps.Transport == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		deps.Transport, idle = transport, transport.CloseIdleConnections
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.stop = cancel
	var err error
	w.App, err = app.New(ctx, s.config(t), deps)
	require.NoError(t, err)
	go func() {
		defer close(w.stopped)
		w.err = w.Run(ctx)
	}()
	t.Cleanup(func() {
		w.stop()
		w.wait(t)
		if idle != nil {
			idle()
		}
		if t.Failed() {
			t.Logf("the worker's log:\n%s\nits last metrics: %v", w.logs, w.gather(t))
		}
	})
	return w
}

// wait waits for the worker to have stopped.
func (w *worker) wait(t *testing.T) {
	t.Helper()
	select {
	case <-w.stopped:
	case <-time.After(inTime):
		require.FailNow(t, "the worker does not stop")
	}
}

// get fetches a page of the worker.
func (w *worker) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.Addr()+path, http.NoBody)
	require.NoError(t, err)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	require.NoError(t, err)
	defer func() { require.NoError(t, res.Body.Close()) }()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(text)
}

// readiness is the readiness page.
type readiness struct {
	code    int
	text    string
	Status  string
	Reasons []string
	Targets []struct {
		Target, Kafka, Error, Braze string
		Joined                      bool
		Partitions, Pending         int
		Locked                      []string
	}
}

func (w *worker) ready(t *testing.T) readiness {
	t.Helper()
	var r readiness
	r.code, r.text = w.get(t, "/readyz")
	require.NoError(t, json.Unmarshal([]byte(r.text), &r))
	return r
}

// eventually waits until something holds, and tells what did not.
func eventually(t *testing.T, holds func() bool, what string, args ...any) {
	t.Helper()
	require.Eventually(t, holds, inTime, often, "waiting until %s", fmt.Sprintf(what, args...))
}

func (w *worker) awaitReady(t *testing.T) {
	t.Helper()
	eventually(t, func() bool { return w.ready(t).code == http.StatusOK }, "the worker is ready")
}

// keepsSecrets checks that nothing that the worker shows holds a secret.
func (w *worker) keepsSecrets(t *testing.T, secrets ...string) {
	t.Helper()
	_, metrics := w.get(t, "/metrics")
	shown := metrics + w.ready(t).text + w.logs.String()
	for _, secret := range append(secrets, partnerKey, apiKey) {
		require.NotContains(t, shown, secret)
	}
}

// sample is one gathering of the metrics: all series of a worker at one moment.
type sample map[string]float64

// gather returns every counter and gauge by its name and labels, such as
// changes_skipped_total{reason=empty,target=Main}, the prefix cut.
func (w *worker) gather(t *testing.T) sample {
	t.Helper()
	families, err := w.registry.Gather()
	require.NoError(t, err)
	s := make(sample)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			labels := make([]string, 0, len(m.GetLabel()))
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			name := strings.TrimPrefix(family.GetName(), "cohortsync_") + "{" + strings.Join(labels, ",") + "}"
			switch {
			case m.GetCounter() != nil:
				s[name] = m.GetCounter().GetValue()
			case m.GetGauge() != nil:
				s[name] = m.GetGauge().GetValue()
			}
		}
	}
	return s
}

// sum adds up the series of a metric that have all of the labels, each given
// as name=value.
func (s sample) sum(metric string, labels ...string) float64 {
	total := 0.0
	for series, v := range s {
		name, rest, _ := strings.Cut(strings.TrimSuffix(series, "}"), "{")
		if name != metric {
			continue
		}
		matches := true
		for _, l := range labels {
			matches = matches && strings.Contains(","+rest+",", ","+l+",")
		}
		if matches {
			total += v
		}
	}
	return total
}

func (w *worker) metric(t *testing.T, metric string, labels ...string) float64 {
	t.Helper()
	return w.gather(t).sum(metric, labels...)
}

// lines is a logger's output.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// count returns how many lines hold all of the parts.
func (l *lines) count(parts ...string) int {
	n := 0
	for line := range strings.Lines(l.String()) {
		all := true
		for _, part := range parts {
			all = all && strings.Contains(line, part)
		}
		if all {
			n++
		}
	}
	return n
}

// startBraze starts a simulated Braze that knows the usual keys, and returns
// its address.
func startBraze(t *testing.T, o brazetest.Options) (*brazetest.Server, string) {
	t.Helper()
	if o.PartnerKey == "" {
		o.PartnerKey = partnerKey
	}
	if o.APIKey == "" {
		o.APIKey = apiKey
	}
	braze := brazetest.New(o)
	front := braze.Start()
	t.Cleanup(front.Close)
	return braze, front.URL
}

// awaitMembers waits until exactly these external ids are in the cohort.
func awaitMembers(t *testing.T, braze *brazetest.Server, cohort string, want ...string) {
	t.Helper()
	eventually(t, func() bool {
		members := braze.Members(cohort)
		for _, id := range want {
			if !members[user(id)] {
				return false
			}
		}
		return len(members) == len(want)
	}, "cohort %s holds %v", cohort, want)
}

func user(id string) catalog.Identifier {
	return catalog.Identifier{Kind: catalog.ExternalID, Value: id}
}

func device(id string) catalog.Identifier {
	return catalog.Identifier{Kind: catalog.DeviceID, Value: id}
}

func alias(id string) catalog.Identifier {
	return catalog.Identifier{Kind: catalog.UserAlias, Label: "crm", Value: id}
}
