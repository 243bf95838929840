package stream

import (
	"context"
	"fmt"
)

// start is where a feed begins.
type start struct {
	offset int64
	// backfillEnd is the end of what lay in the log when a group without
	// commits began; what is read below it counts as backfill. 0 for none.
	backfillEnd int64
	bounds      Bounds
}

// starts resolves where each partition begins: at its commit, moved to the
// earliest record when the log does not have that offset; at start_from when
// the group never committed anything; and at the earliest record when only
// this partition has no commit, for then the partition is new.
func (g *generation) starts(ctx context.Context, owned []Assignment) (map[int]start, error) {
	partitions := make([]int, len(owned))
	for i, a := range owned {
		partitions[i] = a.Partition
	}
	bounds, err := g.t.Log.Bounds(ctx, partitions)
	if err != nil {
		return nil, fmt.Errorf("asking for the bounds of the log: %w", err)
	}
	fresh := g.gen.Fresh()
	var byTime map[int]int64
	if from := g.t.StartFrom; fresh && !from.Latest && !from.Time.IsZero() {
		byTime, err = g.t.Log.OffsetsAt(ctx, partitions, from.Time)
		if err != nil {
			return nil, fmt.Errorf("asking for the offsets at %s: %w", from.Time, err)
		}
	}
	starts := make(map[int]start, len(owned))
	for _, a := range owned {
		b, ok := bounds[a.Partition]
		if !ok {
			return nil, fmt.Errorf("asking for the bounds of the log: no answer for partition %d", a.Partition)
		}
		s := start{offset: a.Committed, bounds: b}
		switch {
		case a.Committed >= 0:
			s.offset = g.t.clamp(a.Partition, a.Committed, b)
			s.backfillEnd = g.t.backfill[a.Partition]
		case !fresh || a.New:
			s.offset = b.First
		case byTime != nil:
			s.offset = byTime[a.Partition]
			s.backfillEnd = g.t.backfills(a.Partition, b)
		case g.t.StartFrom.Latest:
			s.offset = b.Next
		default:
			s.offset = b.First
			s.backfillEnd = g.t.backfills(a.Partition, b)
		}
		starts[a.Partition] = s
	}
	return starts, nil
}

// backfills notes what lies in a partition when a group without commits
// begins. It stays backfill through this worker's later generations; others who
// take the partition over count the rest of it as live.
func (t *Target) backfills(partition int, b Bounds) (end int64) {
	if _, known := t.backfill[partition]; !known {
		t.backfill[partition] = b.Next
	}
	return t.backfill[partition]
}

// clamp moves an offset that the log does not have to the earliest record.
// Below the log, retention has taken records that were never read; above it,
// the topic was made anew or has lost its end.
func (t *Target) clamp(partition int, offset int64, b Bounds) int64 {
	if offset >= b.First && offset <= b.Next {
		return offset
	}
	t.metrics.outOfRange.Inc()
	t.log.Warn("the log does not have the offset to read on from; reading from its earliest record",
		"partition", partition, "offset", offset, "log_start", b.First, "log_end", b.Next)
	return b.First
}
