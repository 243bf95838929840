package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"cohortsync/internal/stream"
)

// stepBytes is how much of the log a step looks at; a batch that is larger
// comes whole.
const stepBytes = 64 << 10

// errStuck says that the broker has records past an offset but sends none.
var errStuck = errors.New("the broker sends nothing, although the log goes on")

// step moves past what kafka-go's Conn cannot read: batches without records,
// which compaction leaves.
func (b *Broker) step(ctx context.Context, partition int, offset, highWatermark int64) (stream.Fetched, error) {
	found, err := b.survey(ctx, partition, offset, stepBytes)
	if err != nil {
		return stream.Fetched{}, err
	}
	next := offset
	for _, s := range found {
		switch {
		case s.last < next:
			continue
		case s.records == 0:
			next = s.last + 1
			continue
		case s.first > offset:
			return stream.Fetched{Next: s.first, HighWatermark: highWatermark}, nil
		}
		// It has records, but perhaps none at or past the offset.
		records, err := b.batchAt(ctx, partition, next)
		if err != nil {
			return stream.Fetched{}, err
		}
		fetched := stream.Fetched{Records: records, Next: s.last + 1, HighWatermark: highWatermark}
		if n := len(records); n > 0 {
			fetched.Next = records[n-1].Offset + 1
		}
		return fetched, nil
	}
	if next == offset {
		return stream.Fetched{}, errStuck
	}
	return stream.Fetched{Next: next, HighWatermark: highWatermark}, nil
}

// markControl marks the markers of transactions, which kafka-go hands out like
// any record. A marker's key is two 16-bit numbers, version and type
// (https://kafka.apache.org/documentation/#controlbatch); that a record has
// such a key proves nothing, so its batch is looked at.
func (b *Broker) markControl(ctx context.Context, partition int, records []stream.Record, maxBytes int) error {
	var found []span
	for i := range records {
		r := &records[i]
		if len(r.Key) != 4 || r.Key[0] != 0 || r.Key[1] != 0 || r.Key[2] != 0 {
			continue
		}
		s, ok := covering(found, r.Offset)
		if !ok {
			var err error
			if found, err = b.survey(ctx, partition, r.Offset, maxBytes); err != nil {
				return err
			}
			if s, ok = covering(found, r.Offset); !ok {
				return fmt.Errorf("looking at the batch of offset %d: %w", r.Offset, errStuck)
			}
		}
		if r.Control = s.control; s.control && aborts(r.Key) {
			b.warnOfAborts()
		}
	}
	return nil
}

// aborts says that a marker's key is that of an abort, not of a commit.
func aborts(key []byte) bool { return len(key) == 4 && key[2] == 0 && key[3] == 0 }

// warnOfAborts tells once what reading uncommitted records comes to.
func (b *Broker) warnOfAborts() {
	if !b.warnedOfAborts.Swap(true) {
		b.opt.Logger.Warn("the topic has transactions that were aborted, and their records are delivered all the same; to leave them out, set kafka.isolation to read_committed",
			"topic", b.opt.Topic)
	}
}

// covering returns the batch that an offset is in.
func covering(found []span, offset int64) (span, bool) {
	for _, s := range found {
		if offset >= s.first && offset <= s.last {
			return s, true
		}
	}
	return span{}, false
}

// batchAt returns the records at or past the offset of the batch that covers
// it, or of the next one; perhaps none. kafka-go's client, unlike its Conn,
// reads every batch, checks its sum and knows markers, but not where a batch
// without records ends.
func (b *Broker) batchAt(ctx context.Context, partition int, offset int64) ([]stream.Record, error) {
	answer, err := b.client.Fetch(ctx, &kafka.FetchRequest{
		Topic:     b.opt.Topic,
		Partition: partition,
		Offset:    offset,
		MinBytes:  1,
		MaxBytes:  1, // The first batch comes whole all the same (KIP-74).
		MaxWait:   100 * time.Millisecond,
	})
	if err == nil {
		err = answer.Error
	}
	if err != nil {
		return nil, fmt.Errorf("reading a batch: %w", err)
	}
	records, err := appendRecords(nil, answer.Records, offset)
	if err != nil {
		return nil, fmt.Errorf("reading a batch: %w", err)
	}
	return records, nil
}

// appendRecords appends copies of the records at or past an offset.
func appendRecords(records []stream.Record, from kafka.RecordReader, offset int64) ([]stream.Record, error) {
	readers := []kafka.RecordReader{from}
	if s, ok := from.(*protocol.RecordStream); ok {
		readers = s.Records
	}
	for _, reader := range readers {
		_, control := reader.(*protocol.ControlBatch)
		for {
			r, err := reader.ReadRecord()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return records, err
			}
			copied, err := copyOf(r, control)
			if err != nil {
				return records, err
			}
			if copied.Offset >= offset {
				records = append(records, copied)
			}
		}
	}
	return records, nil
}

// copyOf copies a record out of kafka-go's pages and gives them back. Like
// kafka-go's Conn, it takes an empty value for none.
func copyOf(r *kafka.Record, control bool) (stream.Record, error) {
	c := stream.Record{Offset: r.Offset, Time: r.Time, Control: control}
	var err error
	if c.Key, err = bytesOf(r.Key); err != nil {
		return c, err
	}
	if c.Value, err = bytesOf(r.Value); err != nil {
		return c, err
	}
	for _, h := range r.Headers {
		c.Headers = append(c.Headers, stream.Header{Key: h.Key, Value: h.Value})
	}
	return c, nil
}

func bytesOf(b kafka.Bytes) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	p, err := kafka.ReadAll(b)
	if err := errors.Join(err, b.Close()); err != nil {
		return nil, err
	}
	if len(p) == 0 {
		return nil, nil
	}
	return p, nil
}

// ReadAt implements stream.Source: it reads one record of the topic again.
func (b *Broker) ReadAt(ctx context.Context, partition int, offset int64) (stream.Record, error) {
	records, err := b.batchAt(ctx, partition, offset)
	if errors.Is(err, kafka.OffsetOutOfRange) {
		err = fmt.Errorf("%w: %w", stream.ErrRecordGone, err)
	}
	if err != nil {
		return stream.Record{}, fmt.Errorf("reading partition %d at offset %d: %w", partition, offset, err)
	}
	for _, r := range records {
		if r.Offset == offset && !r.Control {
			return r, nil
		}
	}
	return stream.Record{}, fmt.Errorf("reading partition %d at offset %d: %w", partition, offset, stream.ErrRecordGone)
}
