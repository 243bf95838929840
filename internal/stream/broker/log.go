package broker

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/listoffsets"

	"cohortsync/internal/stream"
)

// log implements stream.Log.
type log Broker

func (l *log) Bounds(ctx context.Context, partitions []int) (map[int]stream.Bounds, error) {
	first, err := l.offsets(ctx, partitions, kafka.FirstOffset)
	if err != nil {
		return nil, fmt.Errorf("asking for the first offsets: %w", err)
	}
	last, err := l.offsets(ctx, partitions, kafka.LastOffset)
	if err != nil {
		return nil, fmt.Errorf("asking for the next offsets: %w", err)
	}
	bounds := make(map[int]stream.Bounds, len(partitions))
	for _, p := range partitions {
		bounds[p] = stream.Bounds{First: first[p], Next: last[p]}
	}
	return bounds, nil
}

func (l *log) OffsetsAt(ctx context.Context, partitions []int, t time.Time) (map[int]int64, error) {
	// Negative timestamps mean something else to Kafka: -1 is the end of the
	// log, -2 its start.
	offsets, err := l.offsets(ctx, partitions, max(t.UnixMilli(), 0))
	if err != nil {
		return nil, fmt.Errorf("asking for the offsets at %s: %w", t, err)
	}
	var past []int
	for p, offset := range offsets {
		if offset < 0 { // No record at or after t: the broker says -1.
			past = append(past, p)
		}
	}
	if len(past) == 0 {
		return offsets, nil
	}
	next, err := l.offsets(ctx, past, kafka.LastOffset)
	if err != nil {
		return nil, fmt.Errorf("asking for the next offsets: %w", err)
	}
	maps.Copy(offsets, next)
	return offsets, nil
}

// offsets asks for one offset of each partition. It does not go through
// Client.ListOffsets, which says 0 for a partition that the answer lacks.
func (l *log) offsets(ctx context.Context, partitions []int, timestamp int64) (map[int]int64, error) {
	if len(partitions) == 0 {
		return map[int]int64{}, nil
	}
	wanted := make([]listoffsets.RequestPartition, len(partitions))
	for i, p := range partitions {
		wanted[i] = listoffsets.RequestPartition{Partition: int32(p), CurrentLeaderEpoch: -1, Timestamp: timestamp}
	}
	ctx, cancel := context.WithTimeout(ctx, l.opt.NetworkTimeout)
	defer cancel()
	answer, err := l.transport.RoundTrip(ctx, l.client.Addr, &listoffsets.Request{
		ReplicaID: -1,
		Topics:    []listoffsets.RequestTopic{{Topic: l.opt.Topic, Partitions: wanted}},
	})
	if err != nil {
		return nil, err
	}
	offsets := make(map[int]int64, len(partitions))
	for _, t := range answer.(*listoffsets.Response).Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				return nil, fmt.Errorf("partition %d: %w", p.Partition, kafka.Error(p.ErrorCode))
			}
			offsets[int(p.Partition)] = p.Offset
		}
	}
	for _, p := range partitions {
		if _, ok := offsets[p]; !ok {
			return nil, fmt.Errorf("partition %d: the answer does not name it", p)
		}
	}
	return offsets, nil
}

func (l *log) Open(partition int) stream.Cursor {
	return &cursor{b: (*Broker)(l), partition: partition}
}
