package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/segmentio/kafka-go"

	"cohortsync/internal/stream"
)

// fetchLimit is more than any fetch needs and less than what kafka-go and the
// protocol can count.
const fetchLimit = 1 << 30

// keepRecords is how many records' places a cursor keeps for the next fetch.
const keepRecords = 8192

// cursor implements stream.Cursor on kafka-go's Conn, which reads a record for
// a third of what its Reader takes.
type cursor struct {
	b         *Broker
	partition int
	conn      *kafka.Conn
	// records is used again by each fetch: at a million records a second, a new
	// slice is most of the garbage.
	records []stream.Record
}

// Fetch implements stream.Cursor.
func (c *cursor) Fetch(ctx context.Context, offset int64, maxBytes int) (stream.Fetched, error) {
	fetched, err := c.fetch(ctx, offset, maxBytes)
	if err != nil {
		// Whatever it was, the connection's state is not to be trusted, and the
		// leader may be another by now.
		_ = c.Close()
		return stream.Fetched{}, c.b.fetchFailed(ctx, c.partition, offset, err)
	}
	return fetched, nil
}

func (b *Broker) fetchFailed(ctx context.Context, partition int, offset int64, err error) error {
	if ctx.Err() != nil {
		err = ctx.Err() // It is why the connection broke.
	}
	if errors.Is(err, kafka.OffsetOutOfRange) {
		err = fmt.Errorf("%w: %w", stream.ErrOffsetOutOfRange, err)
	}
	err = lacking(err, "Read", b.opt.Topic, "")
	return fmt.Errorf("reading partition %d at offset %d: %w", partition, offset, err)
}

// Close implements stream.Cursor.
func (c *cursor) Close() error {
	if c.conn == nil {
		return nil
	}
	conn := c.conn
	c.conn = nil
	return conn.Close()
}

func (c *cursor) fetch(ctx context.Context, offset int64, maxBytes int) (stream.Fetched, error) {
	if err := c.connect(ctx); err != nil {
		return stream.Fetched{}, err
	}
	fetched, err := c.poll(ctx, offset, maxBytes)
	if err != nil {
		return stream.Fetched{}, err
	}
	if len(fetched.Records) == 0 && fetched.Next == offset && fetched.HighWatermark > offset {
		// There is more, and kafka-go cannot see it: batches that compaction
		// has emptied stop it, or made it panic.
		return c.b.step(ctx, c.partition, offset, fetched.HighWatermark)
	}
	if err := c.b.markControl(ctx, c.partition, fetched.Records, maxBytes); err != nil {
		return stream.Fetched{}, err
	}
	return fetched, nil
}

// connect dials the partition's leader. It finds the leader by the client,
// never by kafka-go's DialLeader: that asks in a way that creates topics.
func (c *cursor) connect(ctx context.Context) error {
	if c.conn != nil {
		return nil
	}
	p, err := c.b.leader(ctx, c.partition)
	if err != nil {
		return err
	}
	c.conn, err = c.b.dialLeader(ctx, p, func(net.Conn) {})
	return err
}

// closeAtEnd has the end of ctx close a connection, which ends a long poll at
// once, until release is called. That waits for a closing under way.
func closeAtEnd(ctx context.Context, conn io.Closer) (release func()) {
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		_ = conn.Close()
	})
	return func() {
		if !stop() {
			<-closed
		}
	}
}

// poll asks once and reads the whole answer before it returns, so that whoever
// handles the records does not sit on the connection.
func (c *cursor) poll(ctx context.Context, offset int64, maxBytes int) (stream.Fetched, error) {
	conn := c.conn
	defer closeAtEnd(ctx, conn)()
	if err := conn.SetDeadline(time.Now().Add(c.b.opt.PollWait + c.b.opt.NetworkTimeout)); err != nil {
		return stream.Fetched{}, fmt.Errorf("setting the deadline: %w", err)
	}
	// It only sets the number: without SeekDontCheck it would ask the broker.
	if _, err := conn.Seek(offset, kafka.SeekAbsolute|kafka.SeekDontCheck); err != nil {
		return stream.Fetched{}, fmt.Errorf("setting the offset: %w", err)
	}
	batch := conn.ReadBatchWith(kafka.ReadBatchConfig{
		MinBytes: 1,
		MaxBytes: min(max(maxBytes, 1), fetchLimit),
		MaxWait:  c.b.opt.PollWait,
	})
	records, whole := drain(batch, offset, c.records[:0])
	if last := len(c.records); last > len(records) {
		clear(c.records[len(records):]) // They would keep what they point to.
	}
	if c.records = records; cap(records) > keepRecords {
		c.records = nil
	}
	fetched := stream.Fetched{Records: records, Next: offset, HighWatermark: batch.HighWaterMark()}
	if n := len(records); n > 0 {
		fetched.Next = records[n-1].Offset + 1
	}
	if !whole {
		// The panic has left the batch and the connection locked for good.
		c.conn = nil
		return fetched, conn.Close()
	}
	// After a batch that ends in compacted records this is past its last
	// record. It may also be 1, whatever was asked for, when the answer ends in
	// an empty batch: https://github.com/segmentio/kafka-go/issues/1416.
	next := batch.Offset()
	err := batch.Close()
	// An answer without records is a timeout to kafka-go.
	if err != nil && !errors.Is(err, kafka.RequestTimedOut) {
		return stream.Fetched{}, err
	}
	fetched.Next = max(fetched.Next, next)
	return fetched, nil
}

// drain reads a batch to its end and returns the records at or past offset.
// It is not whole when kafka-go panicked, which it does on two empty batches
// in a row (https://github.com/segmentio/kafka-go/issues/874); what was read
// before that is good.
func drain(batch *kafka.Batch, offset int64, into []stream.Record) (records []stream.Record, whole bool) {
	records = into
	defer func() {
		if recover() != nil {
			whole = false
		}
	}()
	for {
		m, err := batch.ReadMessage()
		if err != nil {
			return records, true // Close tells what it was.
		}
		if m.Offset < offset {
			continue
		}
		records = append(records, stream.Record{})
		r := &records[len(records)-1]
		r.Offset, r.Time, r.Key, r.Value, r.Headers = m.Offset, m.Time, m.Key, m.Value, headersOf(m.Headers)
	}
}

func headersOf(headers []kafka.Header) []stream.Header {
	if len(headers) == 0 {
		return nil
	}
	of := make([]stream.Header, len(headers))
	for i, h := range headers {
		of[i] = stream.Header{Key: h.Key, Value: h.Value}
	}
	return of
}

// leader returns a partition of the topic that has a leader.
func (b *Broker) leader(ctx context.Context, partition int) (kafka.Partition, error) {
	ctx, cancel := context.WithTimeout(ctx, b.opt.NetworkTimeout)
	defer cancel()
	partitions, err := b.partitions(ctx, b.opt.Topic)
	if err != nil {
		return kafka.Partition{}, err
	}
	for _, p := range partitions {
		switch {
		case p.ID != partition:
		case p.Leader.Host == "":
			return kafka.Partition{}, fmt.Errorf("finding the leader of partition %d: %w", partition, kafka.LeaderNotAvailable)
		default:
			return p, nil
		}
	}
	return kafka.Partition{}, fmt.Errorf("finding the leader of partition %d: %w", partition, kafka.UnknownTopicOrPartition)
}

// raw opens a connection to the partition's leader, authenticated and with
// nothing sent or read after that.
func (b *Broker) raw(ctx context.Context, partition int) (net.Conn, error) {
	p, err := b.leader(ctx, partition)
	if err != nil {
		return nil, err
	}
	var raw net.Conn
	_, err = b.dialLeader(ctx, p, func(conn net.Conn) { raw = conn })
	return raw, err
}

// dialLeader opens a connection to the partition's leader, and shows what is
// below it. The end of ctx closes the connection until it is open: kafka-go
// waits in the login for as long as it takes.
func (b *Broker) dialLeader(ctx context.Context, p kafka.Partition, below func(net.Conn)) (*kafka.Conn, error) {
	stop := func() bool { return true }
	conn, err := b.dialer(func(dialing context.Context, network, address string) (net.Conn, error) {
		conn, err := b.dial(dialing, network, address)
		if err == nil {
			stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
			conn = newReadAhead(conn)
			below(conn)
		}
		return conn, err
	}).DialPartition(ctx, "tcp", "", p)
	stop()
	return conn, err
}
