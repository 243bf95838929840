package broker

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cohortsync/internal/kafkatest"
	"cohortsync/internal/stream"
)

// batch is one batch of a hand-made log: the offsets that it covers and those
// of the records that compaction has left in it.
type batch struct {
	first, last int64
	kept        []int64
	control     bool
}

func full(first, last int64) batch {
	b := batch{first: first, last: last}
	for o := first; o <= last; o++ {
		b.kept = append(b.kept, o)
	}
	return b
}

func empty(first, last int64) batch { return batch{first: first, last: last} }

func (b batch) bytes() []byte {
	var records []byte
	for _, offset := range b.kept {
		r := kmsg.Record{OffsetDelta: int32(offset - b.first), Key: []byte("k"), Value: fmt.Appendf(nil, "value %d", offset)}
		if b.control {
			r.Key, r.Value = []byte{0, 0, 0, 1}, make([]byte, 6)
		}
		r.Length = int32(len(r.AppendTo(nil)) - 1) // Less the length itself, one byte for a small record.
		records = r.AppendTo(records)
	}
	raw := kmsg.RecordBatch{
		FirstOffset: b.first, Magic: 2, LastOffsetDelta: int32(b.last - b.first),
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1,
		NumRecords: int32(len(b.kept)), Records: records,
	}
	if b.control {
		raw.Attributes = batchControlBit
	}
	raw.Length = int32(len(raw.AppendTo(nil)) - batchOverhead)
	p := raw.AppendTo(nil)
	binary.BigEndian.PutUint32(p[17:], crc32.Checksum(p[batchAttributesAt:], crc32.MakeTable(crc32.Castagnoli)))
	return p
}

// serveLog makes the broker answer fetches from a hand-made log: from the
// batch that covers the offset to the end of its segment, as Kafka does. What
// the embedded broker compacts itself has none of the shapes that matter.
func serveLog(cluster *kafkatest.Embedded, segments [][]batch) (end int64) {
	for _, segment := range segments {
		end = segment[len(segment)-1].last + 1
	}
	cluster.ControlKey(int16(kmsg.Fetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		wanted := request.(*kmsg.FetchRequest).Topics[0].Partitions[0]
		answer := request.ResponseKind().(*kmsg.FetchResponse)
		p := kmsg.NewFetchResponseTopicPartition()
		p.HighWatermark, p.LastStableOffset = end, end
		p.RecordBatches = fetchFrom(segments, wanted.FetchOffset, int(wanted.PartitionMaxBytes))
		answered := kmsg.NewFetchResponseTopic()
		answered.Topic = topic
		answered.Partitions = append(answered.Partitions, p)
		answer.Topics = append(answer.Topics, answered)
		return answer, nil, true
	})
	return end
}

func fetchFrom(segments [][]batch, offset int64, maxBytes int) []byte {
	for _, segment := range segments {
		var p []byte
		for _, b := range segment {
			if b.last < offset || (len(p) > 0 && len(p) >= maxBytes) {
				continue
			}
			p = append(p, b.bytes()...)
		}
		if len(p) > 0 {
			return p
		}
	}
	return nil
}

func TestEveryRecordOfACompactedLogIsReadOnceFromAnyOffset(t *testing.T) {
	t.Parallel()
	for name, segments := range map[string][][]batch{
		"an empty batch at the end of a fetch":   {{full(0, 4), empty(5, 9)}, {full(10, 12)}},
		"an empty batch at the end of the log":   {{full(0, 4), empty(5, 9)}},
		"an empty batch between two":             {{full(0, 4), empty(5, 9), full(10, 12)}},
		"two empty batches in a row":             {{full(0, 4), empty(5, 6), empty(7, 9), full(10, 12)}},
		"three empty batches at the start":       {{empty(0, 1), empty(2, 3), empty(4, 5), full(6, 7)}},
		"four empty batches in a row":            {{full(0, 0), empty(1, 1), empty(2, 3), empty(4, 5), empty(6, 6), full(7, 9)}},
		"empty batches across segments":          {{full(0, 1), empty(2, 3), empty(4, 5)}, {empty(6, 7), empty(8, 9), full(10, 11)}},
		"the tail of a batch is gone":            {{{first: 0, last: 9, kept: []int64{0, 3}}}, {full(10, 12)}},
		"the tail of the last batch is gone":     {{full(0, 1), {first: 2, last: 9, kept: []int64{4}}}},
		"head and tail of a batch are gone":      {{{first: 0, last: 9, kept: []int64{5}}, full(10, 11)}},
		"a tail, then empty batches":             {{{first: 0, last: 4, kept: []int64{1}}, empty(5, 6), empty(7, 8), full(9, 9)}},
		"a record between tails in three pieces": {{{first: 0, last: 2, kept: []int64{0}}}, {{first: 3, last: 8, kept: []int64{3}}}, {full(9, 9)}},
		"offsets that no batch covers":           {{full(0, 1)}, {full(100, 101)}, {empty(500, 600)}, {full(1000, 1000)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := startEmbedded(t, "answers made by hand", 1)
			end := serveLog(cluster, segments)
			b, committed := connect(t, cluster), connect(t, cluster, readCommitted)
			for from := range min(end, 13) {
				var want []int64
				for _, segment := range segments {
					for _, kept := range segment {
						for _, offset := range kept.kept {
							if offset >= from {
								want = append(want, offset)
							}
						}
					}
				}
				require.Equal(t, want, offsetsTo(t, b, from, end), "from offset %d", from)
				require.Equal(t, want, offsetsTo(t, committed, from, end), "what is committed, from offset %d", from)
			}
		})
	}
}

// offsetsTo reads until the position has reached the end of the log.
func offsetsTo(t *testing.T, b *Broker, from, end int64) (offsets []int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), inTime)
	defer cancel()
	cursor := b.Log().Open(0)
	defer func() { require.NoError(t, cursor.Close()) }()
	for from < end {
		fetched, err := cursor.Fetch(ctx, from, 1<<20)
		require.NoError(t, err)
		for _, r := range fetched.Records {
			require.Equal(t, fmt.Sprintf("value %d", r.Offset), string(r.Value))
			offsets = append(offsets, r.Offset)
		}
		require.Greater(t, fetched.Next, from, "the position moves")
		from = fetched.Next
	}
	return offsets
}

func TestALogThatSendsNothingAlthoughItGoesOnIsAnError(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "answers made by hand", 1)
	serveLog(cluster, [][]batch{{full(0, 4)}})
	cluster.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) { return nil, nil, false })
	b := connect(t, cluster)

	_, err := b.step(t.Context(), 0, 5, 9)
	require.ErrorIs(t, err, errStuck)
}

func TestAMarkerIsPassedOverAndARecordThatLooksLikeOneIsNot(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	client := producer(t, cluster, kgo.TransactionalID(cluster.Name("t")))
	likeness := &kgo.Record{Key: []byte{0, 0, 0, 1}, Value: []byte("no marker")}
	for _, commit := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		require.NoError(t, client.BeginTransaction())
		require.NoError(t, client.ProduceSync(t.Context(), likeness, &kgo.Record{Value: []byte("plain")}).FirstErr())
		require.NoError(t, client.EndTransaction(t.Context(), commit))
	}
	b := connect(t, cluster)
	// Kafka writes the marker some time after it has said that the end is there.
	require.Eventually(t, func() bool {
		bounds, err := b.Log().Bounds(t.Context(), []int{0})
		return err == nil && bounds[0].Next == 6
	}, inTime, often, "the last marker is in the log")
	produce(t, cluster, 0, "last")
	cursor := b.Log().Open(0)
	t.Cleanup(func() { require.NoError(t, cursor.Close()) })

	var records []stream.Record
	for next := int64(0); next < 7; {
		fetched, err := cursor.Fetch(t.Context(), next, 1<<20)
		require.NoError(t, err)
		records = append(records, fetched.Records...)
		next = fetched.Next
	}

	marked := map[int64]bool{}
	for _, r := range records {
		marked[r.Offset] = r.Control
	}
	require.Equal(t, map[int64]bool{0: false, 1: false, 2: true, 3: false, 4: false, 5: true, 6: false}, marked)
	require.Equal(t, "no marker", string(records[0].Value))
}

func TestAMarkerIsNoRecordForADeadLetter(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	client := producer(t, cluster, kgo.TransactionalID(cluster.Name("t")))
	require.NoError(t, client.BeginTransaction())
	require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Value: []byte("v")}).FirstErr())
	require.NoError(t, client.EndTransaction(t.Context(), kgo.TryCommit))

	_, err := connect(t, cluster).ReadAt(t.Context(), 0, 1)
	require.ErrorIs(t, err, stream.ErrRecordGone)
}

func TestAStepReturnsAMarkerMarked(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "answers made by hand", 1)
	serveLog(cluster, [][]batch{{empty(0, 1), {first: 2, last: 2, kept: []int64{2}, control: true}}})

	fetched, err := connect(t, cluster).step(t.Context(), 0, 2, 3)
	require.NoError(t, err)
	require.Len(t, fetched.Records, 1)
	require.True(t, fetched.Records[0].Control)
	require.Equal(t, int64(3), fetched.Next)
}

func TestAnAnswerCutAnywhereIsAnErrorAndNoPanic(t *testing.T) {
	t.Parallel()
	whole := make([]byte, 0, 64)
	be := binary.BigEndian
	whole = be.AppendUint32(whole, 0) // Correlation.
	whole = be.AppendUint32(whole, 0) // Throttle time.
	whole = be.AppendUint32(whole, 1)
	whole = appendString(whole, topic)
	whole = be.AppendUint32(whole, 1)
	whole = be.AppendUint32(whole, 0)          // Partition.
	whole = be.AppendUint16(whole, 0)          // Error.
	whole = be.AppendUint64(whole, 9)          // High watermark.
	whole = be.AppendUint64(whole, 9)          // Last stable offset.
	whole = be.AppendUint32(whole, ^uint32(0)) // No aborted transactions.
	set := append(full(0, 1).bytes(), empty(2, 8).bytes()...)
	whole = append(be.AppendUint32(whole, uint32(len(set))), set...)

	want := []span{
		{first: 0, last: 1, records: 2, producer: -1, batch: full(0, 1).bytes()},
		{first: 2, last: 8, producer: -1, batch: empty(2, 8).bytes()},
	}
	got, err := readAnswer(whole)
	require.NoError(t, err)
	require.Equal(t, want, spans(got.set))
	for n := range whole {
		_, err := readAnswer(whole[:n])
		require.Error(t, err, n)
	}
	for n := range set {
		for i, s := range spans(set[:n]) {
			if s.batch == nil {
				s.batch = want[i].batch
			}
			require.Equal(t, want[i], s, n)
		}
	}
}

func TestABatchOfAnOldFormatIsReadAndNotSteppedOver(t *testing.T) {
	t.Parallel()
	// Magic 1: a wrapper's offset is that of its last record.
	old := append(binary.BigEndian.AppendUint64(nil, 7), 0, 0, 0, 6, 0, 0, 0, 0, 1, 0)
	require.Equal(t, []span{{last: 7, records: 1, batch: old}}, spans(old))
}
