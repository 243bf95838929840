package broker

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"cohortsync/internal/stream"
)

func readCommitted(o *Options) { o.ReadCommitted = true }

// TestWhatIsKeptOfTransactionsIsWhatWasCommitted holds the filter to a log of
// several producers, each with one transaction after the other or none at all,
// fetched from any batch on.
func TestWhatIsKeptOfTransactionsIsWhatWasCommitted(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var log []span
		var want []int64 // The offsets that count.
		var aborted []abortedTransaction
		ends := map[abortedTransaction]int64{} // The offsets of their markers.
		open := map[int64][]int64{}
		next := int64(0)
		add := func(b batch, producer int64, transactional bool) {
			p := b.bytes()
			log = append(log, span{
				first: b.first, last: b.last, records: int32(len(b.kept)),
				transactional: transactional, control: b.control, producer: producer, batch: p,
			})
			next = b.last + 1
		}
		end := func(t *rapid.T, producer int64) {
			if rapid.Bool().Draw(t, "commit") {
				want = append(want, open[producer]...)
			} else {
				a := abortedTransaction{producer, open[producer][0]}
				aborted, ends[a] = append(aborted, a), next
			}
			delete(open, producer)
			add(batch{first: next, last: next, kept: []int64{next}, control: true}, producer, true)
		}
		producer := rapid.Int64Range(1, 3)
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				id, transactional := producer.Draw(t, "producer"), rapid.Bool().Draw(t, "in a transaction")
				b := full(next, next+rapid.Int64Range(0, 2).Draw(t, "more"))
				if transactional {
					open[id] = append(open[id], b.kept...)
				} else {
					id += 10
					want = append(want, b.kept...)
				}
				add(b, id, transactional)
			},
			"end": func(t *rapid.T) {
				if id := producer.Draw(t, "producer"); len(open[id]) > 0 {
					end(t, id)
				}
			},
		})
		for id := range int64(4) { // Below the last stable offset all have ended.
			if len(open[id]) > 0 {
				end(t, id)
			}
		}
		if len(log) == 0 {
			return
		}
		from := rapid.IntRange(0, len(log)-1).Draw(t, "from batch")
		var told []abortedTransaction // The broker names those that reach into the answer.
		for _, a := range aborted {
			if ends[a] >= log[from].first {
				told = append(told, a)
			}
		}
		filter := newTransactions(told)
		var records []stream.Record
		for _, s := range log[from:] {
			var err error
			records, err = filter.keep(records, s, s.first)
			require.NoError(t, err)
		}
		var got []int64
		for _, r := range records {
			got = append(got, r.Offset)
		}
		var wanted []int64
		for _, offset := range want {
			if offset >= log[from].first {
				wanted = append(wanted, offset)
			}
		}
		require.ElementsMatch(t, wanted, got)
		require.IsIncreasing(t, append([]int64{-1}, got...))
	})
}

func TestOnlyCommittedRecordsAreRead(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	client, plain := producer(t, cluster, kgo.TransactionalID(cluster.Name("t"))), producer(t, cluster)
	// Kafka writes a transaction's marker some time after it has said that the
	// transaction has ended, so where a record stands is Kafka's to tell.
	write := func(by *kgo.Client, values ...string) (written []*kgo.Record) {
		for _, v := range values {
			r, err := by.ProduceSync(t.Context(), &kgo.Record{Value: []byte(v)}).First()
			require.NoError(t, err)
			written = append(written, r)
		}
		return written
	}
	transact := func(end kgo.TransactionEndTry, values ...string) []*kgo.Record {
		require.NoError(t, client.BeginTransaction())
		written := write(client, values...)
		require.NoError(t, client.EndTransaction(t.Context(), end))
		return written
	}
	committed := transact(kgo.TryCommit, "a", "b")
	committed = append(committed, write(plain, "plain")...)
	transact(kgo.TryAbort, "lost", "lost too")
	committed = append(committed, transact(kgo.TryCommit, "c")...)
	transact(kgo.TryAbort, "lost at the end")
	b := connect(t, cluster, readCommitted)
	const end = 11 // Seven records and four markers.
	next := func() int64 {
		bounds, err := b.Log().Bounds(t.Context(), []int{0})
		require.NoError(t, err)
		return bounds[0].Next
	}
	require.Eventually(t, func() bool { return next() == end }, inTime, often, "all transactions have ended")

	for from := range int64(end) {
		records, position := readTo(t, b, from, end)
		require.Equal(t, int64(end), position, "the markers at the end are passed over")
		want := []string{}
		for _, r := range committed {
			if r.Offset >= from {
				want = append(want, string(r.Value))
			}
		}
		require.Equal(t, want, valuesOf(records), "from offset %d", from)
	}

	require.NoError(t, client.BeginTransaction())
	write(client, "d")
	write(plain, "after it")
	require.Equal(t, int64(end), next(), "what has not been committed is not there yet")
	cursor := b.Log().Open(0)
	t.Cleanup(func() { require.NoError(t, cursor.Close()) })
	fetched, err := cursor.Fetch(t.Context(), end, 1<<20)
	require.NoError(t, err)
	require.Equal(t, stream.Fetched{Next: end, HighWatermark: end}, fetched)

	require.NoError(t, client.EndTransaction(t.Context(), kgo.TryCommit))
	require.Equal(t, []string{"d", "after it"}, valuesOf(readAll(t, b, 0, end, 2)))
}

// readTo reads until the position has reached an offset, which it may have to
// wait for.
func readTo(t *testing.T, b *Broker, from, to int64) (records []stream.Record, position int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), inTime)
	defer cancel()
	cursor := b.Log().Open(0)
	defer func() { require.NoError(t, cursor.Close()) }()
	for position = from; position < to; {
		fetched, err := cursor.Fetch(ctx, position, 1<<20)
		require.NoError(t, err)
		require.GreaterOrEqual(t, fetched.Next, position)
		records, position = append(records, fetched.Records...), fetched.Next
	}
	return records, position
}

func TestAnOffsetThatTheLogDoesNotHaveIsToldAsSuchForWhatIsCommitted(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	produce(t, cluster, 0, "a")
	cursor := connect(t, cluster, readCommitted).Log().Open(0)
	t.Cleanup(func() { require.NoError(t, cursor.Close()) })
	_, err := cursor.Fetch(t.Context(), 5, 1<<20)
	require.ErrorIs(t, err, stream.ErrOffsetOutOfRange)
	fetched, err := cursor.Fetch(t.Context(), 0, 1<<20)
	require.NoError(t, err, "the next one connects anew")
	require.Len(t, fetched.Records, 1)
}

func TestAnAbortedTransactionIsWarnedAboutOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end   kgo.TransactionEndTry
		warns int
	}{"aborted": {kgo.TryAbort, 1}, "committed": {kgo.TryCommit, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := startKafka(t, 1)
			client := producer(t, cluster, kgo.TransactionalID(cluster.Name("t")))
			for range 2 {
				require.NoError(t, client.BeginTransaction())
				require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Value: []byte("v")}).FirstErr())
				require.NoError(t, client.EndTransaction(t.Context(), c.end))
			}
			var logs strings.Builder
			b := connect(t, cluster, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&logs, nil)) })
			readTo(t, b, 0, 4)
			require.Equal(t, c.warns, strings.Count(logs.String(), "set kafka.isolation to read_committed"))
		})
	}
}
