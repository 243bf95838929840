package broker

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cohortsync/internal/stream"
)

func TestFetchReturnsWholeRecords(t *testing.T) {
	t.Parallel()
	cluster := startEmpty(t)
	cluster.Admin().CreateTopic(t, topic, 1, "retention.ms", "-1")
	at := time.UnixMilli(1_700_000_000_123)
	require.NoError(t, producer(t, cluster).ProduceSync(t.Context(), &kgo.Record{
		Key: []byte("k"), Value: []byte("v"), Timestamp: at,
		Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("1")}, {Key: "h", Value: []byte("2")}},
	}, &kgo.Record{Key: []byte("tombstone"), Timestamp: at}).FirstErr())

	records := readAll(t, connect(t, cluster), 0, 0, 2)

	require.True(t, at.Equal(records[0].Time))
	records[0].Time = at
	require.Equal(t, stream.Record{
		Time: at, Key: []byte("k"), Value: []byte("v"),
		Headers: []stream.Header{{Key: "h", Value: []byte("1")}, {Key: "h", Value: []byte("2")}},
	}, records[0])
	require.Nil(t, records[1].Value)
}

func TestFetchReadsEveryCompressionFromAnyOffset(t *testing.T) {
	t.Parallel()
	for name, codec := range map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := startKafka(t, 1)
			client := producer(t, cluster, kgo.ProducerBatchCompression(codec))
			var batch []*kgo.Record
			for _, v := range numbered(50) {
				batch = append(batch, &kgo.Record{Value: []byte(v)})
			}
			require.NoError(t, client.ProduceSync(t.Context(), batch...).FirstErr())

			require.Equal(t, numbered(50)[17:], valuesOf(readAll(t, connect(t, cluster), 0, 17, 33)))
		})
	}
}

func TestFetchAtTheEndOfTheLogIsEmptyAndNoError(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	produce(t, cluster, 0, "a", "b")
	cursor := connect(t, cluster).Log().Open(0)
	t.Cleanup(func() { require.NoError(t, cursor.Close()) })

	for range 3 {
		fetched, err := cursor.Fetch(t.Context(), 2, 1<<20)
		require.NoError(t, err)
		require.Equal(t, stream.Fetched{Next: 2, HighWatermark: 2}, fetched)
	}
}

func TestFetchOfRecordsLargerThanAskedForReturnsOne(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	produce(t, cluster, 0, numbered(3)...)
	cursor := connect(t, cluster).Log().Open(0)
	t.Cleanup(func() { require.NoError(t, cursor.Close()) })

	fetched, err := cursor.Fetch(t.Context(), 1, 1)
	require.NoError(t, err)
	require.NotEmpty(t, fetched.Records)
	require.Equal(t, int64(1), fetched.Records[0].Offset)
}

func TestFetchOutsideTheLogSaysSo(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	produce(t, cluster, 0, numbered(10)...)
	cluster.Admin().DeleteRecords(t, topic, 0, 5)
	cursor := connect(t, cluster).Log().Open(0)
	t.Cleanup(func() { require.NoError(t, cursor.Close()) })

	for name, offset := range map[string]int64{"below": 2, "above": 11} {
		_, err := cursor.Fetch(t.Context(), offset, 1<<20)
		require.ErrorIs(t, err, stream.ErrOffsetOutOfRange, name)
	}
	fetched, err := cursor.Fetch(t.Context(), 5, 1<<20)
	require.NoError(t, err, "the cursor is of use after that")
	require.Equal(t, numbered(10)[5:], valuesOf(fetched.Records))
}

func TestTheEndOfItsContextEndsAFetch(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "a look at each request", 1)
	b := connect(t, cluster, func(o *Options) { o.PollWait = time.Hour })
	cursor := b.Log().Open(0)
	t.Cleanup(func() { require.NoError(t, cursor.Close()) })
	polled := observe(cluster, kmsg.Fetch, nil)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := cursor.Fetch(ctx, 0, 1<<20)
		failed <- err
	}()
	require.Eventually(t, func() bool { return polled.Hits() > 0 }, inTime, often)

	cancel()

	require.ErrorIs(t, receive(t, failed), context.Canceled)
}

func TestFetchFindsALeaderThatHasMoved(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "leaders that move", 1, kfake.NumBrokers(3))
	produce(t, cluster, 0, "before")
	cursor := connect(t, cluster).Log().Open(0)
	t.Cleanup(func() { require.NoError(t, cursor.Close()) })
	fetched, err := cursor.Fetch(t.Context(), 0, 1<<20)
	require.NoError(t, err)
	require.Equal(t, int64(1), fetched.Next)

	require.NoError(t, cluster.MoveTopicPartition(topic, 0, (cluster.LeaderFor(topic, 0)+1)%3))
	produce(t, cluster, 0, "after")

	failures := 0
	require.Eventually(t, func() bool {
		fetched, err = cursor.Fetch(t.Context(), 1, 1<<20)
		if err != nil {
			failures++
		}
		return err == nil
	}, inTime, often)
	require.Equal(t, []string{"after"}, valuesOf(fetched.Records))
	require.Positive(t, failures, "the old leader has refused")
}

func TestBoundsAndOffsetsAtATime(t *testing.T) {
	t.Parallel()
	cluster := startEmpty(t)
	cluster.Admin().CreateTopic(t, topic, 3, "retention.ms", "-1")
	b := connect(t, cluster)
	client := producer(t, cluster)
	at := time.UnixMilli(1_700_000_000_000)
	for i := range 10 {
		record := &kgo.Record{Partition: 1, Value: []byte("v"), Timestamp: at.Add(time.Duration(i) * time.Minute)}
		require.NoError(t, client.ProduceSync(t.Context(), record).FirstErr())
	}
	cluster.Admin().DeleteRecords(t, topic, 1, 2)

	bounds, err := b.Log().Bounds(t.Context(), []int{0, 1})
	require.NoError(t, err)
	require.Equal(t, map[int]stream.Bounds{0: {}, 1: {First: 2, Next: 10}}, bounds)

	for name, test := range map[string]struct {
		at   time.Time
		want int64
	}{
		"between two records":         {at: at.Add(4*time.Minute + time.Second), want: 5},
		"at a record":                 {at: at.Add(4 * time.Minute), want: 4},
		"before the log":              {at: at.Add(-time.Hour), want: 2},
		"before 1970":                 {at: time.UnixMilli(-1), want: 2},
		"after the last is not minus": {at: at.Add(time.Hour), want: 10},
	} {
		offsets, err := b.Log().OffsetsAt(t.Context(), []int{0, 1}, test.at)
		require.NoError(t, err, name)
		require.Equal(t, map[int]int64{0: 0, 1: test.want}, offsets, name)
	}
}

func TestAFaultyAnswerOfOnePartitionIsNoOffset(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "faults in its answers", 2)
	b := connect(t, cluster)
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: topic, Partitions: []int32{1}, Err: kerr.NotLeaderForPartition, Count: -1})

	_, err := b.Log().Bounds(t.Context(), []int{0, 1})
	require.ErrorContains(t, err, "partition 1")
	_, err = b.Log().OffsetsAt(t.Context(), []int{0, 1}, time.Now())
	require.ErrorContains(t, err, "partition 1")
}

func TestReadAtReturnsTheRecordOrSaysThatItIsGone(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	produce(t, cluster, 0, numbered(10)...)
	cluster.Admin().DeleteRecords(t, topic, 0, 5)
	b := connect(t, cluster)

	record, err := b.ReadAt(t.Context(), 0, 7)
	require.NoError(t, err)
	require.Equal(t, int64(7), record.Offset)
	require.Equal(t, "value 7", string(record.Value))

	for _, offset := range []int64{2, 10, 11} {
		_, err = b.ReadAt(t.Context(), 0, offset)
		require.ErrorIs(t, err, stream.ErrRecordGone, offset)
	}
}
