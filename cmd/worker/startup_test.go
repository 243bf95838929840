//go:build unix

package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"cohortsync/internal/braze/brazetest"
	"cohortsync/internal/kafkatest"
)

// quick are settings whose times suit tests of a single worker.
func quick(brokers []string, braze string) settings {
	return settings{
		brokers: brokers, braze: braze,
		session: 6 * time.Second, drain: 4 * time.Second, request: 2 * time.Second,
	}
}

func TestABadConfigurationEndsTheStartAtOnce(t *testing.T) {
	t.Parallel()
	binary := build(t)
	t.Run("with every problem and where it is", func(t *testing.T) {
		t.Parallel()
		file := filepath.Join(t.TempDir(), "cohortsync.yaml")
		require.NoError(t, os.WriteFile(file, []byte(bad), 0o600))
		w := newWorker(t, binary, file)
		w.start(t)
		require.Equal(t, exitUsage, w.wait(t))
		for _, problem := range []string{
			"cohortsync.yaml:1:31: kafka.topics: is an unknown key", "targets[0].endpoint: is a dashboard host", "targets[0].partner_api_key: is missing",
		} {
			require.Contains(t, w.printed(t), problem)
		}
	})
	t.Run("with the secret that is missing", func(t *testing.T) {
		t.Parallel()
		s := quick([]string{"127.0.0.1:1"}, "http://127.0.0.1:1")
		s.kafka = "  sasl: {mechanism: plain, username: \"${file:/nowhere/at-all}\", password: \"${env:NOT_SET_AT_ALL}\"}\n"
		w := newWorker(t, binary, s.write(t))
		w.start(t)
		require.Equal(t, exitUsage, w.wait(t))
		require.Contains(t, w.printed(t), "kafka.sasl.username")
		require.Contains(t, w.printed(t), "/nowhere/at-all")
		require.Contains(t, w.printed(t), "NOT_SET_AT_ALL")
	})
}

func TestAPortThatIsTakenEndsTheStartAtOnce(t *testing.T) {
	t.Parallel()
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = taken.Close() })
	s := quick([]string{"127.0.0.1:1"}, "http://127.0.0.1:1")
	s.listen = taken.Addr().String()
	w := newWorker(t, build(t), s.write(t))
	w.start(t)
	require.Equal(t, exitFailed, w.wait(t))
	require.Contains(t, w.printed(t), "opening the address of health and metrics")
	require.Contains(t, w.printed(t), "address already in use")
}

func TestACompactedTopicEndsTheWorker(t *testing.T) {
	t.Parallel()
	kafka := kafkatest.Start(t)
	kafka.Admin().CreateTopic(t, topic, 1, "cleanup.policy", "compact")
	w := newWorker(t, build(t), quick(nil, "http://127.0.0.1:1").on(kafka).write(t))
	w.start(t)
	require.Equal(t, exitFailed, w.wait(t))
	require.Contains(t, w.printed(t), "compacted")
	require.Contains(t, w.printed(t), "kafka.allow_compacted")
}

// It is found at the start, not when the first dead letter stops a partition.
func TestADeadLetterTopicThatMayNotBeCreatedEndsTheWorker(t *testing.T) {
	t.Parallel()
	kafka := kafkatest.StartEmbedded(t, "faults in its answers", kfake.SeedTopics(3, topic))
	kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.CreateTopics}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	_, _, url := startBraze(t, brazetest.Options{})
	w := newWorker(t, build(t), quick(nil, url).on(kafka).write(t))
	w.start(t)
	require.Equal(t, exitFailed, w.wait(t))
	lines := strings.Split(strings.TrimSpace(w.printed(t)), "\n")
	last := lines[len(lines)-1]
	require.Contains(t, last, `creating the dead-letter topic "changes.dead-letter"`)
	require.Contains(t, last, "kafka-topics.sh --bootstrap-server "+kafka.ListenAddrs()[0]+" --create --topic changes.dead-letter --partitions 3")
	require.NotContains(t, w.printed(t), "panic")
}

// A worker is started before its broker and its topic, as in a deploy of all at
// once, and does its work when both are there. Braze then refuses its key and
// echoes it.
func TestAWorkerWaitsForItsBrokerAndItsTopic(t *testing.T) {
	t.Parallel()
	const why = "a broker that comes later"
	kafkatest.NeedsEmbedded(t, why)
	port := kafkatest.Unused(t).Port
	_, _, url := startBraze(t, brazetest.Options{})
	echo := echoingBraze(t)
	s := quick([]string{fmt.Sprintf("127.0.0.1:%d", port)}, url)
	s.targets = []target{{name: "US", endpoint: url, send: "all"}, {name: "Echo", endpoint: echo, send: "all"}}
	s.kafka = "  sasl: {mechanism: plain, username: cohortsync, password: \"${env:SASL_PASSWORD}\"}\n"
	w := newWorker(t, build(t), s.write(t))
	w.start(t)
	w.says(t, "connection refused")
	status, body := w.get(t, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, body, "no broker")
	status, body = w.get(t, "/healthz")
	require.Equal(t, http.StatusOK, status, body)
	check := newWorker(t, w.binary, w.config)
	check.start(t, "healthcheck", "--address", w.address(t))
	require.Equal(t, exitDone, check.wait(t), "no broker is no reason to restart a container")

	kafka := kafkatest.StartGuarded(t, why, "cohortsync", saslSecret, kfake.DataDir(t.TempDir()), kfake.Ports(port))
	w.says(t, "waiting for the topic: create it")
	status, _ = w.get(t, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Empty(t, kafka.PartitionInfos(topic), "the worker creates no source topic")

	producer := client(t, kafka, kgo.SASL(plain.Auth{User: "cohortsync", Pass: saslSecret}.AsMechanism()))
	require.NoError(t, kafka.CreateTopic(topic, 1, nil))
	w.ready(t)
	r := &kgo.Record{Key: []byte("c1"), Value: payload("c1", true, time.Now().UnixMicro(), []user{10})}
	require.NoError(t, producer.ProduceSync(t.Context(), r).FirstErr())
	eventually(t, func() string { return uncommitted(t, kafka, group) })

	w.says(t, `locked`)
	status, body = w.get(t, "/readyz")
	require.Equal(t, http.StatusOK, status, "a locked target does not make the worker unready")
	require.Contains(t, body, "refused")
	w.get(t, "/metrics") // It checks for secrets.
	require.NotEmpty(t, uncommitted(t, kafka, "cohortsync.echo"), "what a locked target was not sent stays in the log")

	// The operator looks at what is configured, too.
	look := newWorker(t, w.binary, w.config)
	look.start(t, "config", "print")
	require.Equal(t, exitDone, look.wait(t))
	require.Contains(t, look.printed(t), "partner_api_key: ${env:PARTNER_KEY}")
}

// echoingBraze refuses whatever it is asked, and repeats it.
func echoingBraze(t *testing.T) string {
	t.Helper()
	server := brazetest.New(brazetest.Options{})
	server.Script(func(brazetest.Request) brazetest.Fault {
		return brazetest.Answer(http.StatusUnauthorized, "the keys "+partnerSecret+" and "+apiSecret+" are not known")
	})
	front := server.Start()
	t.Cleanup(front.Close)
	return front.URL
}
