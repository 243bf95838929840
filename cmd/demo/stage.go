package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"

	"cohortsync/internal/app"
	"cohortsync/internal/braze/brazetest"
	"cohortsync/internal/catalog"
	"cohortsync/internal/config"
)

const (
	demoTopic      = "cohort-membership-changes"
	demoPartitions = 6
	demoGroup      = "cohortsync"
	// historyKept bounds what the simulated Braze remembers of its requests.
	historyKept = 1000
)

// stage is everything that the demo runs.
type stage struct {
	kafka    *kfake.Cluster
	braze    *brazetest.Server
	front    *httptest.Server
	writer   *kafka.Writer
	wire     *kafka.Transport // The writer's; without one of its own, nobody would close it.
	worker   *app.App
	registry *prometheus.Registry
}

// newStage sets the stage up; close takes it down.
func newStage(ctx context.Context, o options, logger *slog.Logger) (*stage, error) {
	s := &stage{registry: prometheus.NewRegistry()}
	if err := s.build(ctx, o, logger); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *stage) build(ctx context.Context, o options, logger *slog.Logger) error {
	var err error
	s.kafka, err = kfake.NewCluster(
		kfake.NumBrokers(1), kfake.SeedTopics(demoPartitions, demoTopic), kfake.DataDir(o.Dir+"/kafka"))
	if err != nil {
		return fmt.Errorf("starting the embedded broker in %s: %w", o.Dir, err)
	}
	s.braze = brazetest.New(brazetest.Options{ //nolint:gosec // The keys of a Braze that is not real.
		PartnerKey: "demo-partner-key", APIKey: "demo-data-import-key", Seed: o.Seed, HistoryLimit: historyKept,
		Bad: func(id catalog.Identifier) bool { return strings.HasPrefix(id.Value, badPrefix) },
	})
	s.braze.SetFaults(demoFaults(o.Faults))
	s.front = s.braze.Start()
	s.wire = &kafka.Transport{}
	s.writer = &kafka.Writer{
		Transport: s.wire, Addr: kafka.TCP(s.kafka.ListenAddrs()...), Topic: demoTopic, RequiredAcks: kafka.RequireAll,
		Balancer: kafka.BalancerFunc(byKey), BatchTimeout: 5 * time.Millisecond,
	}
	cfg, err := s.config(o)
	if err != nil {
		return err
	}
	s.worker, err = app.New(ctx, cfg, app.Deps{
		Logger: logger, Registry: s.registry, Now: time.Now, Random: rand.Int64N, Version: "demo",
	})
	return err
}

// demoFaults is how Braze behaves: a little latency, or everything at once.
func demoFaults(misbehave bool) brazetest.Faults {
	f := brazetest.Faults{Latency: 30 * time.Millisecond, Jitter: 40 * time.Millisecond}
	if misbehave {
		f.ServerError, f.AppliedThenLost, f.AppliedThenError = .03, .005, .01
		f.Limited, f.LimitedFor = .01, 4*time.Second
		f.Locked, f.Reset = .02, .01
	}
	return f
}

// config is the demo's configuration file, read as any other.
func (s *stage) config(o options) (*config.Config, error) {
	text := fmt.Sprintf(`
kafka:
  brokers: [%q]
  topic: %s
  group: %s
  session_timeout: 10s
  rebalance_timeout: 10s
  heartbeat_interval: 1s
  drain_timeout: 5s
targets:
  - name: Demo
    endpoint: %s
    allow_any_endpoint: true
    partner_api_key: ${env:PARTNER_KEY}
    api_key: ${env:API_KEY}
    request_timeout: 3s
    identifiers:
      - {from: user_id, to: external_id}
syncs:
  - {name: every-cohort, cohort_id: "*", target: Demo, linger: 500ms}
http: {listen: %q}
`, s.kafka.ListenAddrs()[0], demoTopic, demoGroup, s.front.URL, o.Listen)
	keys := map[string]string{"PARTNER_KEY": "demo-partner-key", "API_KEY": "demo-data-import-key"}
	cfg, _, err := config.Parse("demo.yaml", []byte(text), config.Source{
		Env:      func(name string) (string, bool) { v, ok := keys[name]; return v, ok },
		ReadFile: os.ReadFile,
	})
	if err != nil {
		return nil, fmt.Errorf("reading the demo's configuration: %w", err)
	}
	return cfg, nil
}

func (s *stage) greet(out io.Writer, o options, logPath string) {
	fmt.Fprintf(out, `The real worker, an embedded Kafka broker (its data in %s) and a simulated Braze.
  metrics   http://%s/metrics
  ready     http://%s/readyz
  its log   %s
Ctrl-C stops it cleanly.

`, o.Dir, s.worker.Addr(), s.worker.Addr(), logPath)
}

// members counts the members of the demo's cohorts in the simulated Braze.
func (s *stage) members() []cohortMembers {
	cohorts := demoCohorts()
	all := make([]cohortMembers, len(cohorts))
	for i, c := range cohorts {
		all[i] = cohortMembers{name: c.name, members: s.braze.Count(c.id)}
	}
	return all
}

// sum has the last word.
func (s *stage) sum(out io.Writer, took time.Duration) error {
	f, err := read(s.registry)
	if err != nil {
		return err
	}
	lastWord(out, f, took, s.unread())
	return nil
}

// unread counts the offsets past the committed ones.
func (s *stage) unread() int64 {
	committed := map[int32]kfake.GroupCommit{}
	if group := s.kafka.GroupInfo(demoGroup + ".demo"); group != nil {
		committed = group.Commits[demoTopic]
	}
	unread := int64(0)
	for _, p := range s.kafka.PartitionInfos(demoTopic) {
		unread += p.HighWatermark - committed[p.Partition].Offset
	}
	return unread
}

// close takes the stage down, whatever of it was set up.
func (s *stage) close() error {
	var err error
	if s.writer != nil {
		err = s.writer.Close()
		s.wire.CloseIdleConnections()
	}
	if s.front != nil {
		s.front.Close()
	}
	if s.kafka != nil {
		s.kafka.Close()
	}
	return err
}
