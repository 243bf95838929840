package app_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cohortsync/internal/braze/brazetest"
	"cohortsync/internal/kafkatest"
)

func TestAnUnknownTopicIsWaitedForAndNeverCreated(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.StartEmbedded(t, "a look at each request", kfake.AllowAutoTopicCreation())
	braze, url := startBraze(t, brazetest.Options{})
	w := start(t, setup{cluster: cluster, targets: []target{{name: "Main", endpoint: url}}})

	eventually(t, func() bool { return w.logs.count("WARN", "waiting for the topic", "never creates it") > 0 }, "it says so")
	metadata := observe(cluster, kmsg.Metadata)
	eventually(t, func() bool { return metadata.Hits() >= 3 }, "it has looked a few times more")
	r := w.ready(t)
	require.Equal(t, http.StatusServiceUnavailable, r.code)
	require.Equal(t, "waiting for topic", r.Targets[0].Kafka)
	require.Contains(t, r.Targets[0].Error, "Unknown Topic")
	require.Empty(t, cluster.PartitionInfos(topic), "the topic was created")
	require.Empty(t, cluster.PartitionInfos(dead), "nobody knows yet how many partitions it needs")
	w.logged(t, 1, "waiting for the topic")

	client := connect(t, cluster)
	cluster.Admin().CreateTopic(t, topic, 3)
	produce(t, client, on(2, entered("c", "a")))
	awaitMembers(t, braze, "c", "a")
	w.awaitReady(t)
	eventually(t, func() bool { return len(cluster.PartitionInfos(dead)) == 3 }, "the dead-letter topic has as many partitions")
}

// observe counts requests of one kind.
func observe(cluster *kafkatest.Embedded, key kmsg.Key) *kfake.FaultHandle {
	return cluster.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Count: -1, Observe: true})
}

func TestACompactedTopicIsRefused(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.Start(t)
	cluster.Admin().CreateTopic(t, topic, 1, "cleanup.policy", "compact")
	braze, url := startBraze(t, brazetest.Options{})
	w := start(t, setup{cluster: cluster, targets: []target{{name: "Main", endpoint: url}}})
	w.wait(t)
	require.ErrorContains(t, w.err, fmt.Sprintf("topic %q is compacted", cluster.Name(topic)))
	require.ErrorContains(t, w.err, "kafka.allow_compacted")
	require.Empty(t, braze.History())
}

func TestACompactedTopicIsReadWhereThatIsAllowed(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.Start(t)
	client := connect(t, cluster)
	cluster.Admin().CreateTopic(t, topic, 1, "cleanup.policy", "compact,delete")
	braze, url := startBraze(t, brazetest.Options{})
	start(t, setup{
		cluster: cluster, kafka: "  allow_compacted: true",
		targets: []target{{name: "Main", endpoint: url}},
	})
	produce(t, client, entered("c", "a"), entered("d", "b"))
	awaitMembers(t, braze, "c", "a")
	awaitMembers(t, braze, "d", "b")
}

// The broker is away at the start, there, away again, and back with all it had.
func TestABrokerThatIsDownIsWaitedFor(t *testing.T) {
	t.Parallel()
	const why = "a broker that comes and goes"
	kafkatest.NeedsEmbedded(t, why)
	address := kafkatest.Unused(t)
	dir := t.TempDir()
	up := func() *kafkatest.Embedded {
		return startEmbedded(t, why, 1, kfake.Ports(address.Port), kfake.DataDir(dir))
	}
	braze, url := startBraze(t, brazetest.Options{})
	w := start(t, setup{address: address.String(), targets: []target{{name: "Main", endpoint: url}}})
	eventually(t, func() bool { return w.logs.count("WARN", "cannot join the consumer group", "connection refused") > 0 }, "it says so")
	r := w.ready(t)
	require.Equal(t, http.StatusServiceUnavailable, r.code)
	require.Equal(t, "no broker", r.Targets[0].Kafka)
	live, _ := w.get(t, "/healthz")
	require.Equal(t, http.StatusOK, live, "a restart would not bring the broker back")

	cluster := up()
	produce(t, connect(t, cluster), entered("c", "a"))
	awaitMembers(t, braze, "c", "a")
	awaitCommitted(t, cluster, group)
	w.awaitReady(t)

	cluster.Close()
	eventually(t, func() bool {
		r = w.ready(t)
		return r.code == http.StatusServiceUnavailable
	}, "the broker has been gone for longer than the session timeout")
	require.Equal(t, []string{"Main: no broker for longer than the session timeout"}, r.Reasons)
	live, _ = w.get(t, "/healthz")
	require.Equal(t, http.StatusOK, live)

	cluster = up()
	produce(t, connect(t, cluster), entered("c", "b"))
	awaitMembers(t, braze, "c", "a", "b")
	awaitCommitted(t, cluster, group)
	w.awaitReady(t)
	require.Zero(t, end(t, cluster, dead))
}

func TestPartitionsAddedWhileItRunsAreRead(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	braze, url := startBraze(t, brazetest.Options{})
	w := startMain(t, cluster, target{endpoint: url})
	client := connect(t, cluster)
	produce(t, client, entered("c", "a"))
	awaitMembers(t, braze, "c", "a")

	cluster.Admin().SetPartitions(t, topic, 3)
	// Written before the worker knows of the partition, and read all the same.
	produce(t, connect(t, cluster), on(2, entered("d", "b")))

	awaitMembers(t, braze, "d", "b")
	require.Equal(t, 3.0, w.metric(t, "partitions_owned"))
	require.Equal(t, http.StatusOK, w.ready(t).code)
	awaitCommitted(t, cluster, group)
}

func TestALeaderMovesAndNothingIsLost(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "leaders that move", 2, kfake.NumBrokers(3))
	braze, url := startBraze(t, brazetest.Options{})
	w := startMain(t, cluster, target{endpoint: url})
	var want []string
	for round := range 3 {
		for p := range int32(2) {
			require.NoError(t, cluster.MoveTopicPartition(topic, p, (int32(round)+p)%3))
		}
		users := names(fmt.Sprint("round ", round), 20)
		client := connect(t, cluster)
		produce(t, client, on(0, entered("c0", users...)), on(1, entered("c1", users...)))
		want = append(want, users...)
		awaitMembers(t, braze, "c0", want...)
		awaitMembers(t, braze, "c1", want...)
	}
	awaitCommitted(t, cluster, group)
	require.Zero(t, w.metric(t, "offsets_out_of_range_total"))
	require.Equal(t, http.StatusOK, w.ready(t).code)
}

func TestAGroupOfATargetThatIsGoneIsNamed(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	_, url := startBraze(t, brazetest.Options{})
	old := start(t, setup{cluster: cluster, targets: []target{{name: "Old Name", endpoint: url}}})
	old.awaitReady(t)
	old.stop()
	old.wait(t)
	require.NoError(t, old.err)

	w := start(t, setup{cluster: cluster, targets: []target{{name: "New Name", endpoint: url}}})
	eventually(t, func() bool {
		return w.logs.count("WARN", "belongs to no target", cluster.Name("cohortsync.old-name")) == 1
	}, "the group left behind is named")
	w.awaitReady(t)
	require.Zero(t, w.logs.count("belongs to no target", cluster.Name("cohortsync.new-name")))
}

// Braze is not asked while Kafka does not take commits: the lease runs out.
func TestWithoutCommitsNothingIsSent(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "faults in its answers", 1)
	braze, url := startBraze(t, brazetest.Options{})
	w := startMain(t, cluster, target{endpoint: url})
	client := connect(t, cluster)
	produce(t, client, entered("c", "a"))
	awaitMembers(t, braze, "c", "a")

	refused := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Group: group, Err: kerr.CoordinatorLoadInProgress, Count: -1})
	eventually(t, func() bool { return w.logs.count("WARN", "commits fail") > 0 }, "it says so")
	// The lease of 5s - 100ms - 1.5s counts from the last accepted commit.
	lastAccepted := time.Now()
	eventually(t, func() bool { return time.Since(lastAccepted) > 3500*time.Millisecond }, "the lease has run out")
	produce(t, client, entered("c", "b"))
	eventually(t, func() bool { return w.metric(t, "changes_pending") == 1 }, "the change is read")
	before := w.metric(t, "commits_total")
	eventually(t, func() bool { return w.metric(t, "commits_total") >= before+5 }, "its linger is long over")
	require.Equal(t, 1, braze.Count("c"))

	refused.Remove()
	awaitMembers(t, braze, "c", "a", "b")
	awaitCommitted(t, cluster, group)
}
