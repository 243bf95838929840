package broker

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"slices"

	"github.com/segmentio/kafka-go/protocol"

	"cohortsync/internal/stream"
)

// committed implements stream.Cursor for a topic that is written in
// transactions: it reads what was committed and nothing else. kafka-go asks for
// that and hands out aborted records and markers all the same
// (https://github.com/segmentio/kafka-go/pull/1446), so the fetch is our own.
// kafka-go decodes the batches.
type committed struct {
	b         *Broker
	partition int
	conn      net.Conn
}

// Fetch implements stream.Cursor. What it calls the high watermark is the last
// stable offset, the end of the log as far as it may be read.
func (c *committed) Fetch(ctx context.Context, offset int64, maxBytes int) (stream.Fetched, error) {
	fetched, err := c.fetch(ctx, offset, maxBytes)
	if err != nil {
		_ = c.Close()
		return stream.Fetched{}, c.b.fetchFailed(ctx, c.partition, offset, err)
	}
	return fetched, nil
}

// Close implements stream.Cursor.
func (c *committed) Close() error {
	if c.conn == nil {
		return nil
	}
	conn := c.conn
	c.conn = nil
	return conn.Close()
}

func (c *committed) fetch(ctx context.Context, offset int64, maxBytes int) (fetched stream.Fetched, err error) {
	if c.conn == nil {
		if c.conn, err = c.b.raw(ctx, c.partition); err != nil {
			return fetched, err
		}
	}
	defer closeAtEnd(ctx, c.conn)()
	answer, err := c.b.fetchRaw(c.conn, rawFetch{
		partition: c.partition, offset: offset, maxBytes: min(max(maxBytes, 1), fetchLimit),
		wait: c.b.opt.PollWait, committed: true,
	})
	if err != nil {
		return fetched, err
	}
	fetched = stream.Fetched{Next: offset, HighWatermark: answer.stable}
	ended := newTransactions(answer.aborted)
	for _, s := range spans(answer.set) {
		if len(s.batch) == 0 {
			break // Cut off: it comes with the next fetch.
		}
		if fetched.Records, err = ended.keep(fetched.Records, s, offset); err != nil {
			return fetched, fmt.Errorf("decoding the batch of offset %d: %w", s.first, err)
		}
		fetched.Next = max(fetched.Next, s.last+1)
	}
	return fetched, nil
}

// transactions tells the records of aborted transactions from the others, as
// Kafka's own consumer does: a producer's transaction is known to be aborted
// from its first offset to its marker.
type transactions struct {
	// aborted are those to come, the first in front.
	aborted []abortedTransaction
	open    map[int64]bool
}

func newTransactions(aborted []abortedTransaction) *transactions {
	slices.SortFunc(aborted, func(a, b abortedTransaction) int { return cmp.Compare(a.first, b.first) })
	return &transactions{aborted: aborted, open: make(map[int64]bool)}
}

// keep appends the records of a batch that were committed. Batches come in the
// order of the log.
func (t *transactions) keep(records []stream.Record, s span, offset int64) ([]stream.Record, error) {
	for len(t.aborted) > 0 && t.aborted[0].first <= s.last {
		t.open[t.aborted[0].producer] = true
		t.aborted = t.aborted[1:]
	}
	switch {
	case s.control:
		// Whatever it says, the producer's next record is of another transaction.
		delete(t.open, s.producer)
		return records, nil
	case s.records == 0 || s.transactional && t.open[s.producer]:
		return records, nil
	}
	var set protocol.RecordSet
	sized := append(binary.BigEndian.AppendUint32(nil, uint32(len(s.batch))), s.batch...)
	if _, err := set.ReadFrom(bytes.NewReader(sized)); err != nil {
		return records, err
	}
	if set.Records == nil {
		return records, nil
	}
	return appendRecords(records, set.Records, offset)
}
