package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
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
		err = fmt.Errorf("asking for the first offsets: %w", err)
	}
	last, lastErr := l.offsets(ctx, slices.Collect(maps.Keys(first)), kafka.LastOffset)
	if lastErr != nil {
		err = errors.Join(err, fmt.Errorf("asking for the next offsets: %w", lastErr))
	}
	bounds := make(map[int]stream.Bounds, len(last))
	for p, next := range last {
		bounds[p] = stream.Bounds{First: first[p], Next: next}
	}
	return bounds, err
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

// offsets asks for one offset of each partition, and returns those that it gets;
// the error tells of the others. A partition without a leader is left out of the
// request, which kafka-go would not send for it. It does not go through
// Client.ListOffsets, which says 0 for a partition that the answer lacks.
func (l *log) offsets(ctx context.Context, partitions []int, timestamp int64) (map[int]int64, error) {
	offsets := make(map[int]int64, len(partitions))
	led, missing := l.led(ctx, partitions)
	if len(led) == 0 {
		return offsets, missing
	}
	wanted := make([]listoffsets.RequestPartition, len(led))
	for i, p := range led {
		wanted[i] = listoffsets.RequestPartition{Partition: int32(p), CurrentLeaderEpoch: -1, Timestamp: timestamp}
	}
	var isolation int8
	if l.opt.ReadCommitted {
		isolation = 1 // The end is then that of what may be read.
	}
	ctx, cancel := context.WithTimeout(ctx, l.opt.NetworkTimeout)
	defer cancel()
	answer, err := l.transport.RoundTrip(ctx, l.client.Addr, &listoffsets.Request{
		ReplicaID:      -1,
		IsolationLevel: isolation,
		Topics:         []listoffsets.RequestTopic{{Topic: l.opt.Topic, Partitions: wanted}},
	})
	if err != nil {
		return offsets, errors.Join(missing, err)
	}
	for _, t := range answer.(*listoffsets.Response).Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				missing = errors.Join(missing, fmt.Errorf("partition %d: %w", p.Partition, kafka.Error(p.ErrorCode)))
				continue
			}
			offsets[int(p.Partition)] = p.Offset
		}
	}
	for _, p := range led {
		if _, ok := offsets[p]; !ok && missing == nil {
			missing = fmt.Errorf("partition %d: the answer does not name it", p)
		}
	}
	return offsets, missing
}

// led returns the partitions that have a leader.
func (l *log) led(ctx context.Context, partitions []int) (led []int, missing error) {
	if len(partitions) == 0 {
		return nil, nil
	}
	all, err := (*Broker)(l).partitions(ctx, l.opt.Topic)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		switch {
		case !slices.Contains(partitions, p.ID):
		case p.Leader.Host == "":
			missing = errors.Join(missing, fmt.Errorf("partition %d: %w", p.ID, kafka.LeaderNotAvailable))
		default:
			led = append(led, p.ID)
		}
	}
	if len(led) == 0 && missing == nil {
		missing = fmt.Errorf("partitions %v: %w", partitions, kafka.UnknownTopicOrPartition)
	}
	return led, missing
}

func (l *log) Open(partition int) stream.Cursor {
	if l.opt.ReadCommitted {
		return &committed{b: (*Broker)(l), partition: partition}
	}
	return &cursor{b: (*Broker)(l), partition: partition}
}
