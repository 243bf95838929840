package broker

import (
	"crypto/tls"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"cohortsync/internal/kafkatest"
	"cohortsync/internal/stream"
)

// startApache returns an Apache Kafka with the topic.
func startApache(t *testing.T, why string, partitions int32, configs ...string) kafkatest.Broker {
	t.Helper()
	cluster := kafkatest.StartApache(t, why)
	cluster.Admin().CreateTopic(t, topic, partitions, configs...)
	return cluster
}

// Its cleaner takes records out of batches and leaves, where it must remember a
// producer, batches without records: kafka-go jumps back at one such, and
// panics at two in a row.
func TestALogThatTheCleanerHasBeenAtIsReadOnceFromAnyOffset(t *testing.T) {
	t.Parallel()
	cluster := startApache(t, "its cleaner leaves empty batches", 1, "cleanup.policy", "compact",
		"min.cleanable.dirty.ratio", "0.001", "segment.ms", "500", "delete.retention.ms", "0")
	// Each producer's last batch is kept, empty, when its keys are overwritten.
	for p := range 6 {
		client := producer(t, cluster)
		writeBatch(t, client, fmt.Sprint("first of ", p), "a", "b", "c")
		writeBatch(t, client, fmt.Sprint("second of ", p), "a", "b")
		if p%4 == 0 { // Which leaves three empty batches in a row.
			writeBatch(t, client, fmt.Sprint("alone of ", p), fmt.Sprint("key ", p))
		}
		client.Close()
	}
	b := connect(t, cluster, func(o *Options) { o.AllowCompacted = true })

	// The cleaner leaves the active segment alone, and a segment ends when
	// something is written after its time.
	last := producer(t, cluster)
	var batches []span
	require.Eventually(t, func() bool {
		writeBatch(t, last, "the end", "the end")
		var err error
		batches, err = b.survey(t.Context(), 0, 0, 1<<20)
		return err == nil && emptyInARow(batches) == 3
	}, 2*inTime, 300*time.Millisecond, "the cleaner leaves empty batches")

	end := cluster.Admin().Ends(t, topic)[0]
	var whole []int64
	fromEach := make(map[int64][]int64)
	require.Eventually(t, func() bool {
		whole = kept(t, b, 0, end)
		for from := range end {
			fromEach[from] = kept(t, b, from, end)
		}
		return slices.Equal(whole, kept(t, b, 0, end))
	}, inTime, often, "the cleaner has not come in between")
	require.Less(t, int64(len(whole)), end, "there are gaps")
	for from, got := range fromEach {
		first, _ := slices.BinarySearch(whole, from)
		require.Equal(t, whole[first:], got, "from offset %d", from)
	}
}

// writeBatch writes one batch with a record for each key.
func writeBatch(t *testing.T, client *kgo.Client, value string, keys ...string) {
	t.Helper()
	batch := make([]*kgo.Record, len(keys))
	for i, key := range keys {
		batch[i] = &kgo.Record{Key: []byte(key), Value: []byte(value)}
	}
	require.NoError(t, client.ProduceSync(t.Context(), batch...).FirstErr())
}

func emptyInARow(batches []span) (longest int) {
	row := 0
	for _, s := range batches {
		row++
		if s.records > 0 {
			row = 0
		}
		longest = max(longest, row)
	}
	return longest
}

// kept reads from an offset to the end of the log and returns the offsets of
// the records.
func kept(t *testing.T, b *Broker, from, end int64) (offsets []int64) {
	t.Helper()
	cursor := b.Log().Open(0)
	defer func() { require.NoError(t, cursor.Close()) }()
	for from < end {
		fetched, err := cursor.Fetch(t.Context(), from, 1<<20)
		require.NoError(t, err)
		for _, r := range fetched.Records {
			if r.Offset < end {
				offsets = append(offsets, r.Offset)
			}
		}
		require.Greater(t, fetched.Next, from, "the position moves")
		from = fetched.Next
	}
	return offsets
}

// The member does not know: it is as one that was frozen, or that the network
// has cut off from its group.
func TestAMemberThatTheGroupHasGivenUpCannotCommit(t *testing.T) {
	t.Parallel()
	cluster := startApache(t, "its own way of giving a member up", 1)
	silent := func(o *Options) { o.HeartbeatInterval, o.WatchInterval = time.Hour, time.Hour }
	one := startWorker(t, connect(t, cluster, silent), group)
	old := one.owning(t, 1)
	require.NoError(t, old.Commit(t.Context(), map[int]int64{0: 1}))

	next := startWorker(t, connect(t, cluster), group).owning(t, 1) // After its session timeout.
	require.NoError(t, next.Commit(t.Context(), map[int]int64{0: 5}))

	require.NoError(t, old.ctx.Err(), "it takes itself for a member")
	require.Error(t, old.Commit(t.Context(), map[int]int64{0: 2}))
	require.Equal(t, map[int32]int64{0: 5}, cluster.Admin().Committed(t, group, topic))
	close(old.release)
}

func TestATopicThatIsMadeAnewIsJoinedAgainWithoutItsOldOffsets(t *testing.T) {
	t.Parallel()
	cluster := startApache(t, "it deletes a group's offsets with the topic, and creates topics it is asked for", 2)
	one := startWorker(t, connect(t, cluster), group)
	require.NoError(t, one.owning(t, 2).Commit(t.Context(), map[int]int64{0: 7, 1: 8}))
	two := startWorker(t, connect(t, cluster), group)
	one.owning(t, 1)
	two.owning(t, 1)

	cluster.Admin().DeleteTopic(t, topic)
	one.eventually(t, WaitingForTopic)
	two.eventually(t, WaitingForTopic)
	require.Zero(t, cluster.Admin().Partitions(t, topic), "nobody has created it")
	// kafka-go may leave a member behind that was about to join; its session ends it.
	require.Eventually(t, func() bool { return len(cluster.Admin().Group(t, group).Members) == 0 }, inTime, often, "nobody is in the group")

	cluster.Admin().CreateTopic(t, topic, 2)
	one.owning(t, 1)
	owned, _ := two.owning(t, 1).Assigned()
	require.Equal(t, int64(-1), owned[0].Committed)
}

func TestTLSAndMutualTLSLetInWhoHasTheRightCertificates(t *testing.T) {
	t.Parallel()
	const why = "its own TLS"
	with := func(ca, certificate, key string) func(*Options) {
		return func(o *Options) {
			var err error
			o.TLS, err = TLSConfig(ca, certificate, key)
			require.NoError(t, err)
		}
	}
	for name, mutual := range map[string]bool{"TLS": false, "mutual TLS": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster, certs := kafkatest.StartTLS(t, why, mutual)
			cluster.Admin().CreateTopic(t, topic, 1)
			ca, certificate, key := filepath.Join(certs, "ca.pem"), filepath.Join(certs, "client.pem"), filepath.Join(certs, "client.key")
			if !mutual {
				certificate, key = "", ""
			}
			b := connect(t, cluster, with(ca, certificate, key))
			require.NoError(t, b.Reach(t.Context(), cluster.ListenAddrs()[0]))
			require.NoError(t, b.EnsureDeadLetterTopic(t.Context()))
			writeSoon(t, b, letter(0))
			gen := startWorker(t, b, group).owning(t, 1)
			require.NoError(t, gen.Commit(t.Context(), map[int]int64{0: 0}))
			cursor := b.Log().Open(0)
			t.Cleanup(func() { require.NoError(t, cursor.Close()) })
			_, err := cursor.Fetch(t.Context(), 0, 1<<20)
			require.NoError(t, err)

			wrong := map[string]func(*Options){
				"an authority that does not know the broker": func(o *Options) { o.TLS = &tls.Config{MinVersion: tls.VersionTLS12} },
				"none":         func(*Options) {},
				"only a login": login(kafkatest.User, kafkatest.Password),
			}
			if mutual {
				wrong["no certificate of its own"] = with(ca, "", "")
				_, theirs := kafkatest.Certificate(t)
				wrong["another authority"] = with(theirs, certificate, key)
			}
			for name, change := range wrong {
				b := connect(t, cluster, change, func(o *Options) { o.NetworkTimeout = 2 * time.Second })
				var failed *ReachError
				require.ErrorAs(t, b.Reach(t.Context(), cluster.ListenAddrs()[0]), &failed, name)
			}
		})
	}
}

func TestARecordOfEveryTransactionIsRead(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	client := producer(t, cluster, kgo.TransactionalID(cluster.Name("t")))
	for i := range 4 {
		require.NoError(t, client.BeginTransaction())
		writeBatch(t, client, fmt.Sprint("value ", i), "key")
		require.NoError(t, client.EndTransaction(t.Context(), kgo.TransactionEndTry(i%2 == 0)))
	}
	b := connect(t, cluster)
	require.Equal(t, numbered(4), valuesOf(readAll(t, b, 0, 0, 4)))
	bounds, err := b.Log().Bounds(t.Context(), []int{0})
	require.NoError(t, err)
	require.Equal(t, stream.Bounds{First: 0, Next: 8}, bounds[0], "the last marker counts")
}
