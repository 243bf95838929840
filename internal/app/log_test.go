package app_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cohortsync/internal/braze/brazetest"
	"cohortsync/internal/kafkatest"
)

func TestRecordsOfEveryCompressionAreDelivered(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	braze, url := startBraze(t, brazetest.Options{})
	startMain(t, cluster, target{endpoint: url})
	for cohort, codec := range map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		client := connect(t, cluster, kgo.ProducerBatchCompression(codec))
		produce(t, client, entered(cohort, names("a", 300)...), entered(cohort, names("b", 300)...), left(cohort, names("a", 300)...))
		awaitMembers(t, braze, cohort, names("b", 300)...)
	}
	awaitCommitted(t, cluster, group)
	require.Zero(t, end(t, cluster, dead))
}

// A transaction ends with a marker, which takes an offset: nothing comes after
// it, and the group has read all there is none the less.
func TestTheLagIsZeroAfterTheMarkerAtTheEndOfTheLog(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]kgo.TransactionEndTry{"committed": kgo.TryCommit, "aborted": kgo.TryAbort} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := startKafka(t, 2)
			braze, url := startBraze(t, brazetest.Options{})
			w := startMain(t, cluster, target{endpoint: url})
			client := connect(t, cluster, kgo.TransactionalID(cluster.Name("producer")))
			for i := range 3 {
				require.NoError(t, client.BeginTransaction())
				produce(t, client, on(0, entered("c", fmt.Sprint("user-", i))))
				require.NoError(t, client.EndTransaction(t.Context(), how))
			}
			// Read uncommitted, as the worker does, an aborted change is a change.
			awaitMembers(t, braze, "c", names("user", 3)...)
			awaitCommitted(t, cluster, group)
			require.Equal(t, map[int32]int64{0: 6, 1: 0}, cluster.Admin().Committed(t, group, topic))
			require.Equal(t, 3.0, w.metric(t, "changes_delivered_total"))
			require.Zero(t, w.metric(t, "records_undecodable_total"))
			require.Zero(t, w.metric(t, "records_empty_total"))
			require.Zero(t, end(t, cluster, dead))
		})
	}
}

func TestRecordsThatWereDeletedUnreadAreToldAndReadingGoesOn(t *testing.T) {
	t.Parallel()
	t.Run("while nobody was there", func(t *testing.T) {
		t.Parallel()
		cluster := startKafka(t, 1)
		braze, url := startBraze(t, brazetest.Options{})
		client := connect(t, cluster)
		w := startMain(t, cluster, target{endpoint: url})
		produce(t, client, entered("c", "read"))
		awaitMembers(t, braze, "c", "read")
		w.stop()
		w.wait(t)
		produce(t, client, entered("c", "lost"), entered("c", "lost too"), entered("c", "kept"))
		cluster.Admin().DeleteRecords(t, topic, 0, 3)

		w = startMain(t, cluster, target{endpoint: url})
		awaitMembers(t, braze, "c", "read", "kept")
		awaitCommitted(t, cluster, group)
		requireTold(t, w, 2, `"offset":1`, `"log_start":3`)
	})
	t.Run("by retention", func(t *testing.T) {
		t.Parallel()
		cluster := kafkatest.StartApache(t, "it looks for what is too old by itself")
		// A record so much younger than a segment's first begins the next.
		cluster.Admin().CreateTopic(t, topic, 1, "retention.ms", "3600000", "segment.ms", "60000")
		braze, url := startBraze(t, brazetest.Options{})
		client := connect(t, cluster)
		old := func(r *kgo.Record) *kgo.Record {
			r.Timestamp = time.Now().Add(-2 * time.Hour)
			return r
		}
		w := startMain(t, cluster, target{endpoint: url})
		eventually(t, func() bool { return len(cluster.Admin().Committed(t, group, topic)) == 1 }, "it has begun")
		w.stop()
		w.wait(t)
		produce(t, client, old(entered("c", "lost")), old(entered("c", "lost too")))
		produce(t, client, entered("c", "kept"))
		eventually(t, func() bool { return cluster.Admin().Starts(t, topic)[0] == 2 }, "retention has taken the old ones")

		w = startMain(t, cluster, target{endpoint: url})
		awaitMembers(t, braze, "c", "kept")
		awaitCommitted(t, cluster, group)
		requireTold(t, w, 2, `"offset":0`, `"log_start":2`)
	})
	t.Run("while the target was locked", func(t *testing.T) {
		t.Parallel()
		cluster := startKafka(t, 1)
		braze, url := startBraze(t, brazetest.Options{APIKey: "what-braze-wants"})
		client := connect(t, cluster)
		w := startMain(t, cluster, target{endpoint: url})
		produce(t, client, entered("c", "held"))
		eventually(t, func() bool { return w.metric(t, "target_locked", "reason=refused") == 1 }, "the target is locked")
		produce(t, client, entered("c", "unread"), entered("c", "unread too"), entered("c", "kept"))
		// What a fetch has brought before the lock is not lost.
		cluster.Admin().DeleteRecords(t, topic, 0, 3)
		braze.SetKeys(partnerKey, apiKey)

		eventually(t, func() bool { return braze.Members("c")[user("kept")] }, "reading goes on")
		require.True(t, braze.Members("c")[user("held")], "what was pending is delivered")
		awaitCommitted(t, cluster, group)
		// How far it had read by then differs.
		require.LessOrEqual(t, w.metric(t, "offsets_lost_total"), 2.0)
	})
}

// requireTold says that so many offsets were lost, once.
func requireTold(t *testing.T, w *worker, lost int, what ...string) {
	t.Helper()
	require.Equal(t, float64(lost), w.metric(t, "offsets_lost_total"))
	what = append(what, fmt.Sprintf(`"lost":%d`, lost))
	require.Equal(t, 1.0, w.metric(t, "offsets_out_of_range_total"))
	w.logged(t, 1, append(what, "WARN", "the log does not have the offset")...)
}

func TestATopicThatIsMadeAnewIsReadFromItsStart(t *testing.T) {
	t.Parallel()
	cluster := startApache(t, "it forgets a group's offsets together with the topic", 2)
	braze, url := startBraze(t, brazetest.Options{})
	w := startMain(t, cluster, target{endpoint: url})
	produce(t, connect(t, cluster), on(0, entered("c", "a")), on(1, entered("d", "a")), on(0, entered("c", "b")))
	awaitMembers(t, braze, "c", "a", "b")
	awaitMembers(t, braze, "d", "a")
	awaitCommitted(t, cluster, group)

	cluster.Admin().DeleteTopic(t, topic)
	eventually(t, func() bool { return w.ready(t).Targets[0].Kafka == "waiting for topic" }, "the topic is missed")
	require.Zero(t, cluster.Admin().Partitions(t, topic), "nobody has created it")
	cluster.Admin().CreateTopic(t, topic, 3)
	produce(t, connect(t, cluster), on(0, entered("c", "new")), on(2, entered("e", "new")))

	awaitMembers(t, braze, "c", "a", "b", "new")
	awaitMembers(t, braze, "e", "new")
	awaitCommitted(t, cluster, group)
	w.awaitReady(t)
}

func TestALetterThatIsLargerThanTheBrokerTakesIsSplit(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	cluster.Admin().CreateTopic(t, dead, 1, "max.message.bytes", "2000")
	braze, url := startBraze(t, brazetest.Options{Bad: isBad})
	w := startMain(t, cluster, target{endpoint: url})
	long := func(i int) string { return fmt.Sprintf("bad-%d-%s", i, strings.Repeat("x", 100)) }
	source := entered("c", append(names("good", 20), long(0), long(1), long(2), long(3), long(4), long(5), long(6), long(7))...)
	produce(t, connect(t, cluster), source)
	awaitMembers(t, braze, "c", names("good", 20)...)
	awaitCommitted(t, cluster, group)

	found := end(t, cluster, dead)
	require.Greater(t, found, int64(1), "one letter of all eight is too large")
	var told strings.Builder
	for _, letter := range letters(t, cluster, int(found)) {
		told.WriteString(header(letter, "identifiers"))
	}
	for i := range 8 {
		require.Equal(t, 1, strings.Count(told.String(), long(i)), "each is in one letter")
	}
	require.Equal(t, 8.0, w.metric(t, "changes_dead_lettered_total"))
}

// It goes on trying: a right can be granted while it runs.
func TestAWorkerThatLacksARightSaysWhichAndWaits(t *testing.T) {
	t.Parallel()
	const read, write, describe, create = kmsg.ACLOperationRead, kmsg.ACLOperationWrite, kmsg.ACLOperationDescribe, kmsg.ACLOperationCreate
	onTopic, onDead, onGroups := kafkatest.OnTopic(topic, read), kafkatest.OnTopic(dead, write), kafkatest.OnGroups("cohortsync.", read)
	for name, row := range map[string]struct {
		rights [][]kafkatest.Right
		says   []string
	}{
		"on the topic":  {[][]kafkatest.Right{onDead, onGroups}, []string{"cannot join the consumer group", "Topic Authorization Failed", "allow this user Read on topic"}},
		"on the groups": {[][]kafkatest.Right{onTopic, onDead}, []string{"cannot join the consumer group", "Group Authorization Failed", "allow this user Read on group", "cohortsync.main"}},
		"on the dead-letter topic": {
			[][]kafkatest.Right{onTopic, onGroups, kafkatest.OnTopic(dead, describe)},
			[]string{"a dead letter cannot be written", "Topic Authorization Failed", "allow this user Write on topic", dead},
		},
		"none": {[][]kafkatest.Right{onTopic, onGroups, kafkatest.OnTopic(dead, write, create)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := kafkatest.StartLimited(t, row.rights...)
			cluster.Admin().CreateTopic(t, topic, 1)
			cluster.Admin().CreateTopic(t, dead, 1)
			cluster.Admin().Write(t, topic, 0, []byte("not json"))
			braze, url := startBraze(t, brazetest.Options{})
			w := start(t, setup{cluster: cluster, kafka: saslAs, targets: []target{{name: "Main", endpoint: url}}})
			if row.says != nil {
				eventually(t, func() bool { return w.logs.count(row.says...) > 0 }, "it says %v", row.says)
				require.Empty(t, braze.History())
				require.Zero(t, committed(t, cluster, group))
				require.Zero(t, end(t, cluster, dead))
				return
			}
			awaitCommitted(t, cluster, group)
			require.Equal(t, int64(1), end(t, cluster, dead))
		})
	}
}

func TestTwoHundredPartitionsAreRead(t *testing.T) {
	t.Parallel()
	const partitions = 200
	cluster := startApache(t, "what so many cost a broker", partitions)
	braze, url := startBraze(t, brazetest.Options{})
	w := startMain(t, cluster, target{endpoint: url})
	client := connect(t, cluster)
	var records []*kgo.Record
	for p := range int32(partitions) {
		records = append(records, on(p, entered(fmt.Sprint("cohort-", p), "u")))
	}
	produce(t, client, records...)
	eventually(t, func() bool { return w.metric(t, "changes_delivered_total") == partitions }, "all are delivered")
	awaitCommitted(t, cluster, group)
	require.Len(t, braze.Cohorts(), partitions)
	require.Equal(t, float64(partitions), w.metric(t, "partitions_owned"))
	require.Empty(t, braze.Violations())
}

func TestTenThousandCohortsAreDelivered(t *testing.T) {
	t.Parallel()
	const cohorts = 10_000
	cluster := startApache(t, "the long way of so many requests adds nothing on kfake", 6)
	braze, url := startBraze(t, brazetest.Options{})
	w := startMain(t, cluster, target{endpoint: url, more: "    rate_limit: {requests: 1000000, per: 1s, burst: 100000}"})
	client := connect(t, cluster)
	var records []*kgo.Record
	for c := range int32(cohorts) {
		records = append(records, on(c%6, entered(fmt.Sprint("cohort-", c), "u")))
	}
	produce(t, client, records...)
	eventually(t, func() bool { return w.metric(t, "changes_delivered_total") == cohorts }, "all are delivered")
	awaitCommitted(t, cluster, group)
	require.Len(t, braze.Cohorts(), cohorts)
	require.Empty(t, braze.Violations())
}
