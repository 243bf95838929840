package broker

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"
)

// span is one batch of the log: which offsets it covers, how many records
// compaction has left in it, and its part in a transaction.
type span struct {
	first, last int64
	records     int32
	// transactional: it is of a producer's transaction. control: it is the marker
	// that ends one.
	transactional, control bool
	producer               int64
	// batch is the whole of it; empty when the answer ends within it.
	batch []byte
}

// The layout of a batch: https://kafka.apache.org/documentation/#recordbatch.
// Batches of the formats before it (magic below 2) share the places of the
// base offset, the length and the magic only.
const (
	batchLengthAt       = 8
	batchOverhead       = 12 // Base offset and length, which the length leaves out.
	batchMagicAt        = 16
	batchAttributesAt   = 21
	batchLastDeltaAt    = 23
	batchProducerAt     = 43
	batchRecordsAt      = 57
	batchHeaderSize     = 61
	batchTransactionBit = 1 << 4
	batchControlBit     = 1 << 5
)

// surveyWait is how long a survey waits for the broker to have something.
const surveyWait = 100 * time.Millisecond

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
	answer, err := b.fetchRaw(conn, rawFetch{partition: partition, offset: offset, maxBytes: maxBytes, wait: surveyWait})
	if err != nil {
		return nil, fmt.Errorf("surveying the batches: %w", err)
	}
	return spans(answer.set), nil
}

// spans reads the headers of a set of batches, of which the last may be cut.
func spans(set []byte) []span {
	var found []span
	be := binary.BigEndian
	for len(set) > batchMagicAt {
		base := int64(be.Uint64(set))
		size := batchOverhead + int64(be.Uint32(set[batchLengthAt:]))
		s := span{last: base, records: 1} // An old format: it may hold earlier records, too.
		if set[batchMagicAt] >= 2 {
			if len(set) < batchHeaderSize {
				break
			}
			attributes := be.Uint16(set[batchAttributesAt:])
			s = span{
				first:         base,
				last:          base + int64(int32(be.Uint32(set[batchLastDeltaAt:]))),
				records:       int32(be.Uint32(set[batchRecordsAt:])),
				transactional: attributes&batchTransactionBit != 0,
				control:       attributes&batchControlBit != 0,
				producer:      int64(be.Uint64(set[batchProducerAt:])),
			}
		}
		if size <= int64(len(set)) {
			s.batch = set[:size]
		}
		found = append(found, s)
		if size >= int64(len(set)) {
			break
		}
		set = set[size:]
	}
	return found
}
