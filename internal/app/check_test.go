package app_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cohortsync/internal/app"
	"cohortsync/internal/braze/brazetest"
	"cohortsync/internal/config"
	"cohortsync/internal/kafkatest"
)

const (
	kafkaPassword = kafkatest.Password
	// saslAs is the login of the user whose rights kafkatest.StartLimited limits.
	saslAs = `  sasl: {mechanism: plain, username: worker, password: "${env:SASL_PASSWORD}"}`
)

// check runs a check and returns its lines. The addresses of the broker and of
// Braze, which differ each time, are KAFKA and BRAZE in them, and names are as
// the test has them.
func check(t *testing.T, s setup) []string {
	t.Helper()
	return lookAt(t, s, s.config(t))
}

func lookAt(t *testing.T, s setup, cfg *config.Config) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), inTime)
	defer cancel()
	var found []string
	braze := s.targets[0].endpoint
	differs := []string{s.broker(), "KAFKA", braze, "BRAZE", strings.TrimPrefix(braze, "http://"), "BRAZE"}
	if s.cluster != nil && s.cluster.Name("") != "" {
		differs = append(differs, s.cluster.Name(""), "")
	}
	replace := strings.NewReplacer(differs...)
	err := app.Check(ctx, cfg, checkDeps(t), inTime, func(f app.Finding) {
		line := f.String()
		require.NotContains(t, line, "\n")
		for _, secret := range []string{partnerKey, apiKey, kafkaPassword} {
			require.NotContains(t, line, secret)
		}
		found = append(found, replace.Replace(line))
	})
	require.NoError(t, err)
	return found
}

func checkDeps(t *testing.T) app.Deps {
	t.Helper()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	return app.Deps{
		Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), Transport: transport,
		Now: time.Now, Random: rand.Int64N, Version: "test",
	}
}

// notOK leaves out what is well.
func notOK(lines []string) []string {
	var rest []string
	for _, line := range lines {
		if !strings.HasPrefix(line, "ok ") {
			rest = append(rest, line)
		}
	}
	return rest
}

const (
	brokerOK = "ok       broker KAFKA: reached"
	topicOK  = "ok       topic changes: 3 partitions, cleanup.policy=delete, retention 7 days"
	readOK   = "ok       topic changes: may be read"
	groupOK  = "ok       group cohortsync.main: may be read and described; it has no commits and starts at earliest"
	deadOK   = "ok       dead-letter topic changes.dead-letter: 1 partition, cleanup.policy=delete, retention 7 days"
	writeOK  = "ok       dead-letter topic changes.dead-letter: may be written"
	targetOK = `ok       target "Main": Braze takes the credentials`
)

func TestACheckOfWhatIsWellSaysSoLineByLine(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 3)
	cluster.Admin().CreateTopic(t, dead, 1)
	_, url := startBraze(t, brazetest.Options{})
	s := setup{cluster: cluster, targets: []target{{name: "Main", endpoint: url}}}
	require.Equal(t, []string{brokerOK, topicOK, readOK, groupOK, deadOK, writeOK, targetOK}, check(t, s))
}

func TestACheckTellsWhatTheTopicsLackAndWhatToDo(t *testing.T) {
	t.Parallel()
	_, url := startBraze(t, brazetest.Options{})
	for name, row := range map[string]struct {
		topic, dead, more string
		want              []string
	}{
		"no topics": {"", "", "", []string{
			"wrong    topic changes: it does not exist; create it or set kafka.topic",
			"skipped  topic changes: whether it may be read, for it cannot be described",
			"skipped  dead-letter topic changes.dead-letter: it does not exist, and is created with as many partitions as the topic, which is not known",
		}},
		"a compacted topic": {"compact,delete", "delete", "", []string{
			"wrong    topic changes: 1 partition, cleanup.policy=compact,delete, retention 7 days; " +
				"compaction destroys a log of changes: set its cleanup.policy to delete, or kafka.allow_compacted to true",
		}},
		"a compacted topic that is allowed": {"compact", "delete", "  allow_compacted: true", []string{
			"warning  topic changes: 1 partition, cleanup.policy=compact, retention 7 days; compaction loses changes; kafka.allow_compacted allows it",
		}},
		"a compacted dead-letter topic": {"delete", "compact", "", []string{
			"warning  dead-letter topic changes.dead-letter: 1 partition, cleanup.policy=compact, retention 7 days; " +
				"compaction keeps one letter of a cohort: set its cleanup.policy to delete",
		}},
		"no dead-letter topic yet": {"delete", "", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := kafkatest.Start(t, kfake.AllowAutoTopicCreation())
			for topic, policy := range map[string]string{topic: row.topic, dead: row.dead} {
				if policy != "" {
					cluster.Admin().CreateTopic(t, topic, 1, "cleanup.policy", policy)
				}
			}
			found := check(t, setup{cluster: cluster, kafka: row.more, targets: []target{{name: "Main", endpoint: url}}})
			require.Equal(t, row.want, notOK(found))
			require.Contains(t, found, targetOK, "it goes on to the end")
			if row.dead == "" && row.topic != "" {
				require.Contains(t, found, "ok       dead-letter topic changes.dead-letter: it does not exist, and a worker may create it; "+
					"whether it may be written is to be seen only then")
			}
			require.Equal(t, row.topic != "", cluster.Admin().Partitions(t, topic) > 0)
			require.Equal(t, row.dead != "", cluster.Admin().Partitions(t, dead) > 0)
		})
	}
}

func TestACheckNamesGroupsThatBelongToNoTarget(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	_, url := startBraze(t, brazetest.Options{})
	old := start(t, setup{cluster: cluster, targets: []target{{name: "Old Name", endpoint: url}}})
	old.awaitReady(t)
	old.stop()
	old.wait(t)

	found := check(t, setup{cluster: cluster, targets: []target{{name: "Main", endpoint: url}}})
	require.Equal(t, []string{"warning  group cohortsync.old-name: belongs to no target; " +
		"a renamed target starts anew and leaves its old group behind; delete it once nobody needs its offsets"}, notOK(found))
}

// Every request of a check is of a kind that changes nothing, as it is sent.
func TestACheckChangesNothing(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]kfake.Opt{"with a dead-letter topic": {kfake.SeedTopics(1, dead)}, "without": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := startEmbedded(t, "a look at each request", 1, append(opts, kfake.AllowAutoTopicCreation())...)
			braze, url := startBraze(t, brazetest.Options{})
			producer := connect(t, cluster)
			produce(t, producer, entered("c", "u"))
			producer.Close() // It asks on.
			seen := watch(cluster)
			found := check(t, setup{cluster: cluster, targets: []target{{name: "Main", endpoint: url}}})

			require.Empty(t, notOK(found))
			kinds, changing := seen()
			require.Empty(t, changing)
			require.Contains(t, kinds, kmsg.Fetch)
			require.Equal(t, len(opts) > 0, kinds[kmsg.Produce], "it is asked for the right to write")
			require.Equal(t, len(opts) == 0, kinds[kmsg.CreateTopics], "or to create")
			require.Equal(t, int64(1), end(t, cluster, topic))
			require.Zero(t, end(t, cluster, dead))
			require.Equal(t, len(opts) > 0, cluster.TopicInfo(dead) != nil)
			require.Nil(t, cluster.GroupInfo(group))
			require.Len(t, braze.History(), 1)
			require.Empty(t, braze.Cohorts())
			require.Empty(t, braze.Violations())
		})
	}
}

// watch notes the kinds of all requests, and those requests that may change
// something.
func watch(cluster *kafkatest.Embedded) func() (kinds map[kmsg.Key]bool, changing []string) {
	var mu sync.Mutex
	kinds := make(map[kmsg.Key]bool)
	var changing []string
	cluster.Control(func(r kmsg.Request) (kmsg.Response, error, bool) {
		mu.Lock()
		defer mu.Unlock()
		cluster.KeepControl()
		kinds[kmsg.Key(r.Key())] = true
		if changes(r) {
			changing = append(changing, fmt.Sprintf("%T %+v", r, r))
		}
		return nil, nil, false
	})
	return func() (map[kmsg.Key]bool, []string) {
		mu.Lock()
		defer mu.Unlock()
		return kinds, changing
	}
}

func changes(r kmsg.Request) bool {
	switch r := r.(type) {
	case *kmsg.ApiVersionsRequest, *kmsg.DescribeConfigsRequest, *kmsg.ListOffsetsRequest, *kmsg.FetchRequest,
		*kmsg.FindCoordinatorRequest, *kmsg.DescribeGroupsRequest, *kmsg.OffsetFetchRequest, *kmsg.ListGroupsRequest:
		return false
	case *kmsg.MetadataRequest:
		return r.AllowAutoTopicCreation && len(r.Topics) > 0
	case *kmsg.CreateTopicsRequest:
		return !r.ValidateOnly
	case *kmsg.ProduceRequest:
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				if len(p.Records) > 0 {
					return true
				}
			}
		}
		return false
	default:
		return true
	}
}

func TestACheckLeavesARunningWorkerInPeace(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "a look at each request", 2)
	braze, url := startBraze(t, brazetest.Options{})
	s := setup{cluster: cluster, targets: []target{{name: "Main", endpoint: url}}}
	w := start(t, s)
	w.awaitReady(t)
	produce(t, connect(t, cluster), entered("c", "u"))
	awaitMembers(t, braze, "c", "u")
	awaitCommitted(t, cluster, group)
	joins, before := observe(cluster, kmsg.JoinGroup), w.metric(t, "rebalances_total")

	require.Contains(t, check(t, s), "ok       group cohortsync.main: may be read and described; it goes on where it has committed")
	produce(t, connect(t, cluster), entered("c", "v"))
	awaitMembers(t, braze, "c", "u", "v")
	awaitCommitted(t, cluster, group)
	require.Zero(t, joins.Hits())
	require.Equal(t, before, w.metric(t, "rebalances_total"))
	require.Zero(t, end(t, cluster, dead))
}

func TestACheckWaitsForASilentBrokerWithPatienceAndForNobodyOnceItIsStopped(t *testing.T) {
	t.Parallel()
	_, url := startBraze(t, brazetest.Options{})
	silent, came := listenInSilence(t)
	var cfg *config.Config
	for _, row := range []struct{ kafka, want string }{
		{"  tls: {enabled: true}", "making the connection secure: no answer within 50ms; check kafka.tls: whether this port wants TLS at all, ca_file, cert_file and key_file"},
		{saslAs, "logging in: no answer within 50ms; check kafka.sasl: mechanism, username and password"},
		{"", "asking for the cluster's brokers: no answer within 50ms; check whether this port is Kafka's, and wants a login (kafka.sasl) or TLS (kafka.tls)"},
	} {
		cfg = setup{address: silent, kafka: row.kafka, targets: []target{{name: "Main", endpoint: url}}}.config(t)
		var found []string
		require.NoError(t, app.Check(t.Context(), cfg, checkDeps(t), 50*time.Millisecond, func(f app.Finding) { found = append(found, f.String()) }))
		require.Equal(t, "wrong    broker "+silent+": "+row.want, found[0])
		require.Equal(t, targetOK, found[len(found)-1])
		<-came
	}

	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() {
		stopped <- app.Check(ctx, cfg, checkDeps(t), time.Hour, func(f app.Finding) { t.Errorf("found after the end: %s", f) })
	}()
	<-came
	stop()
	select {
	case err := <-stopped:
		require.ErrorIs(t, err, context.Canceled)
	case <-time.After(inTime):
		require.FailNow(t, "the check does not stop")
	}
}
