//go:build unix

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"cohortsync/internal/braze/brazetest"
	"cohortsync/internal/kafkatest"
)

const (
	topic       = "changes"
	deadLetters = topic + ".dead-letter"
	group       = "cohortsync.us"

	// patience is how long a test waits for what should happen: longer than the
	// worker's longest backoff, a minute.
	patience = 90 * time.Second
	often    = 20 * time.Millisecond
)

// The secrets that no output may show.
const (
	partnerSecret = "partner-s3cr3t-8c1f"
	apiSecret     = "api-s3cr3t-77ab"
	saslSecret    = "sasl-s3cr3t-e04d"
)

// build compiles the worker as users get it and returns the file.
func build(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cohortsync")
	out, err := goCommand(t, "build", "-o", file, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return file
}

// startKafka starts a broker with the topic; the data of one that is embedded
// is in a folder, as a real one's.
func startKafka(t *testing.T, partitions int32) kafkatest.Broker {
	t.Helper()
	cluster := kafkatest.Start(t, kfake.DataDir(t.TempDir()))
	cluster.Admin().CreateTopic(t, topic, partitions)
	return cluster
}

// client returns a client of the broker that is not the worker's.
func client(t *testing.T, cluster kafkatest.Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	return kafkatest.Connect(t, cluster, topic, opts...)
}

// startBraze serves a simulated Braze behind a gate; both keys have to be right.
func startBraze(t *testing.T, o brazetest.Options) (*brazetest.Server, *gate, string) {
	t.Helper()
	o.PartnerKey, o.APIKey = partnerSecret, apiSecret
	server := brazetest.New(o)
	g := &gate{next: server}
	front := httptest.NewServer(g)
	t.Cleanup(front.Close)
	return server, g, front.URL
}

// settings are what the tests' configurations differ in.
type settings struct {
	brokers []string
	braze   string
	// before goes before the names of topics and groups.
	before string
	listen string
	// kafka is more lines of the kafka block.
	kafka string
	// targets replaces the one target, US.
	targets []target
	request time.Duration
	drain   time.Duration
	session time.Duration
}

// on takes the broker, and names that are the test's own.
func (s settings) on(cluster kafkatest.Broker) settings {
	s.brokers, s.before = cluster.ListenAddrs(), cluster.Name("")
	return s
}

// write writes a configuration file and returns its path. The session is
// several times as long as a join may take here: kfake begins to wait anew
// with every member that joins.
func (s settings) write(t *testing.T) string {
	t.Helper()
	if s.listen == "" {
		s.listen = "127.0.0.1:0"
	}
	if len(s.targets) == 0 {
		s.targets = []target{{name: "US", endpoint: s.braze, send: "all"}}
	}
	var targets, syncs strings.Builder
	for _, to := range s.targets {
		targets.WriteString(to.yaml(s.request))
		fmt.Fprintf(&syncs, "  - {name: all, cohort_id: \"*\", target: %s, linger: 50ms}\n", to.name)
	}
	text := fmt.Sprintf(`kafka:
  brokers: [%s]
  topic: %s
  group: %s
  session_timeout: %s
  rebalance_timeout: %s
  heartbeat_interval: 300ms
  drain_timeout: %s
  commit_interval: 200ms
%stargets:
%ssyncs:
%shttp: {listen: %q}
`, quoted(s.brokers), s.before+topic, s.before+"cohortsync", s.session, s.session, s.drain, s.kafka, targets.String(), syncs.String(), s.listen)
	file := filepath.Join(t.TempDir(), "cohortsync.yaml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// target is one target of a configuration.
type target struct{ name, endpoint, send string }

func (to target) yaml(request time.Duration) string {
	return fmt.Sprintf(`  - name: %s
    endpoint: %s
    allow_any_endpoint: true
    partner_api_key: ${env:PARTNER_KEY}
    api_key: ${env:API_KEY}
    request_timeout: %s
    max_dead_letters_per_minute: 1000000
    send: %s
    identifiers:
      - {from: device_id, to: device_id}
      - {from: user_id, to: external_id}
`, to.name, to.endpoint, request, to.send)
}

func quoted(list []string) string {
	all := make([]string, len(list))
	for i, s := range list {
		all[i] = fmt.Sprintf("%q", s)
	}
	return strings.Join(all, ", ")
}

// eventually waits until what it is given has nothing to say any more.
func eventually(t *testing.T, missing func() string) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(often)
	defer tick.Stop()
	for {
		said := missing()
		if said == "" {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			require.FailNow(t, "waited in vain", said)
		}
	}
}

// uncommitted says how far a group is behind the log, or nothing.
func uncommitted(t *testing.T, cluster kafkatest.Broker, group string) string {
	t.Helper()
	committed := cluster.Admin().Committed(t, group, topic)
	var behind []string
	for partition, end := range cluster.Admin().Ends(t, topic) {
		if c := committed[partition]; c < end {
			behind = append(behind, fmt.Sprintf("partition %d: %d of %d committed", partition, c, end))
		}
	}
	return strings.Join(behind, "\n")
}

// gate holds back what is sent to Braze while it is shut.
type gate struct {
	next http.Handler
	shut chan struct{}
	held chan struct{}
}

// close shuts the gate for members' changes; it is called before the first
// request. held gets one value for each request that waits.
func (g *gate) close(t *testing.T) (held <-chan struct{}, open func()) {
	t.Helper()
	g.shut, g.held = make(chan struct{}), make(chan struct{}, 100)
	opened := false
	open = func() {
		if !opened {
			opened = true
			close(g.shut)
		}
	}
	t.Cleanup(open)
	return g.held, open
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if g.shut != nil && strings.HasSuffix(r.URL.Path, "/users") {
		g.held <- struct{}{}
		<-g.shut
	}
	g.next.ServeHTTP(w, r)
}
