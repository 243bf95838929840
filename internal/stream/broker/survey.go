package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/segmentio/kafka-go"
)

// span is one batch of the log: which offsets it covers, how many records
// compaction has left in it, and whether it is a transaction's marker.
type span struct {
	first, last int64
	records     int32
	control     bool
}

// The layout of a batch: https://kafka.apache.org/documentation/#recordbatch.
// Batches of the formats before it (magic below 2) share the places of the
// base offset, the length and the magic only.
const (
	batchLengthAt      = 8
	batchOverhead      = 12 // Base offset and length, which the length leaves out.
	batchMagicAt       = 16
	batchAttributesAt  = 21
	batchLastDeltaAt   = 23
	batchRecordsAt     = 57
	batchHeaderSize    = 61
	batchControlBit    = 1 << 5
	surveyFetchVersion = 4 // The oldest that Kafka 4 answers; all since Kafka 0.11 know it.
	surveyLimit        = 1 << 30
)

// survey fetches from a partition and returns the batches, which kafka-go does
// not show: neither where a batch ends nor, from a Conn, whether it is a
// marker. It is for the rare cases that need it, and has a connection of its
// own each time.
func (b *Broker) survey(ctx context.Context, partition int, offset int64, maxBytes int) ([]span, error) {
	conn, err := b.raw(ctx, partition)
	if err != nil {
		return nil, fmt.Errorf("surveying the batches: %w", err)
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(b.opt.NetworkTimeout)); err != nil {
		return nil, fmt.Errorf("surveying the batches: %w", err)
	}
	if _, err := conn.Write(b.fetchRequest(partition, offset, maxBytes)); err != nil {
		return nil, fmt.Errorf("surveying the batches: %w", err)
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, fmt.Errorf("surveying the batches: %w", err)
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > surveyLimit {
		return nil, fmt.Errorf("surveying the batches: an answer of %d bytes", n)
	}
	answer := make([]byte, n)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return nil, fmt.Errorf("surveying the batches: %w", err)
	}
	set, err := fetchedSet(answer)
	if err != nil {
		return nil, fmt.Errorf("surveying the batches: %w", err)
	}
	return spans(set), nil
}

// fetchRequest is one whole request as it goes over the wire.
func (b *Broker) fetchRequest(partition int, offset int64, maxBytes int) []byte {
	const fetchKey = 1
	be := binary.BigEndian
	p := make([]byte, 4, 128)
	p = be.AppendUint16(p, fetchKey)
	p = be.AppendUint16(p, surveyFetchVersion)
	p = be.AppendUint32(p, 0) // Correlation: one request a connection.
	p = appendString(p, b.opt.ClientID)
	p = be.AppendUint32(p, ^uint32(0)) // Replica -1: a consumer.
	p = be.AppendUint32(p, 100)        // Milliseconds to wait,
	p = be.AppendUint32(p, 1)          // for one byte.
	p = be.AppendUint32(p, uint32(maxBytes))
	p = append(p, 0)          // Read uncommitted, as Fetch does.
	p = be.AppendUint32(p, 1) // One topic,
	p = appendString(p, b.opt.Topic)
	p = be.AppendUint32(p, 1) // one partition.
	p = be.AppendUint32(p, uint32(partition))
	p = be.AppendUint64(p, uint64(offset))
	p = be.AppendUint32(p, uint32(maxBytes))
	be.PutUint32(p, uint32(len(p)-4))
	return p
}

func appendString(p []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(p, uint16(len(s))), s...)
}

var errShortAnswer = errors.New("the answer is cut short")

// reading takes an answer apart from its front; after its end it yields zeros
// and stays short.
type reading struct {
	p     []byte
	short bool
}

func (r *reading) take(n int) []byte {
	if n < 0 || n > len(r.p) {
		r.short, r.p = true, nil
		return make([]byte, 8)
	}
	taken := r.p[:n]
	r.p = r.p[n:]
	return taken
}

func (r *reading) int16() int16 { return int16(binary.BigEndian.Uint16(r.take(2))) }
func (r *reading) int32() int32 { return int32(binary.BigEndian.Uint32(r.take(4))) }

// fetchedSet finds the batches in the answer to a fetch of one partition.
func fetchedSet(answer []byte) ([]byte, error) {
	r := &reading{p: answer}
	r.int32()                            // Correlation.
	r.int32()                            // Throttle time.
	if r.int32() != 1 || len(r.p) == 0 { // Topics.
		return nil, errShortAnswer
	}
	r.take(int(r.int16())) // Its name.
	if r.int32() != 1 {    // Partitions.
		return nil, errShortAnswer
	}
	r.int32() // Its number.
	if code := r.int16(); code != 0 && !r.short {
		return nil, kafka.Error(code)
	}
	r.take(8 + 8)                            // High watermark, last stable offset.
	r.take(max(int(r.int32()), 0) * (8 + 8)) // Aborted transactions.
	set := r.take(max(int(r.int32()), 0))
	if r.short {
		return nil, errShortAnswer
	}
	return set, nil
}

// spans reads the headers of a set of batches, of which the last may be cut.
func spans(set []byte) []span {
	var found []span
	be := binary.BigEndian
	for len(set) > batchMagicAt {
		base := int64(be.Uint64(set))
		s := span{last: base, records: 1} // An old format: it may hold earlier records, too.
		if set[batchMagicAt] >= 2 {
			if len(set) < batchHeaderSize {
				break
			}
			s = span{
				first:   base,
				last:    base + int64(int32(be.Uint32(set[batchLastDeltaAt:]))),
				records: int32(be.Uint32(set[batchRecordsAt:])),
				control: be.Uint16(set[batchAttributesAt:])&batchControlBit != 0,
			}
		}
		found = append(found, s)
		size := batchOverhead + int64(be.Uint32(set[batchLengthAt:]))
		if size >= int64(len(set)) {
			break
		}
		set = set[size:]
	}
	return found
}
