package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// start is where a feed begins.
type start struct {
	offset int64
	// backfillEnd is the end of what lay in the log when a group without
	// commits began; what is read below it counts as backfill. 0 for none.
	backfillEnd int64
	bounds      Bounds
}

// begin resolves where to start, commits it and reads, partition by partition
// as they can be had, until all are read or the generation has ended: one that
// has no leader must not hold up the others. Committing what it starts from
// gives the generation its lease, and keeps a start at "latest" from moving with
// every restart.
func (g *generation) begin(ctx context.Context, owned []Assignment, read func(*feed)) {
	if len(owned) == 0 {
		return
	}
	g.t.mu.Lock()
	g.memory.reserve(len(owned))
	g.t.mu.Unlock()
	loop := g.t.loop("begin")
	defer loop.done()
	retry := g.t.NewBackOff()
	for told := ""; ; {
		loop.beat()
		begun, err := g.tryBegin(ctx, owned)
		for _, f := range begun {
			read(f)
		}
		owned = slices.DeleteFunc(slices.Clone(owned), func(a Assignment) bool {
			return slices.ContainsFunc(begun, func(f *feed) bool { return f.partition == a.Partition })
		})
		if len(owned) == 0 || ctx.Err() != nil {
			return
		}
		if err != nil && err.Error() != told {
			told = err.Error()
			g.t.log.Warn("cannot start reading all partitions yet; trying again", "error", err, "left", len(owned))
		}
		pause(ctx, min(retry.NextBackOff(), BeatEvery))
	}
}

// tryBegin returns a feed for each partition of which it is known where it
// starts and that the broker has accepted that; the error tells of the others.
func (g *generation) tryBegin(ctx context.Context, owned []Assignment) (begun []*feed, err error) {
	starts, unknown := g.starts(ctx, owned)
	if unknown != nil {
		unknown = fmt.Errorf("resolving the offsets to start from: %w", unknown)
	}
	if len(starts) == 0 {
		return nil, unknown
	}
	offsets := make(map[int]int64, len(starts))
	for partition, s := range starts {
		offsets[partition] = s.offset
	}
	err = g.commitAll(ctx, offsets, func() {
		for partition, s := range starts {
			f := newFeed(g, partition, s)
			f.committed = s.offset
			g.feeds[partition] = f
			begun = append(begun, f)
		}
	})
	return begun, errors.Join(unknown, err)
}

// starts resolves where each partition begins: at its commit, moved to the
// earliest record when the log does not have that offset; at start_from when
// the group never committed anything; and at the earliest record when only
// this partition has no commit, for then the partition is new. The error tells
// of the partitions that are missing in what it returns.
func (g *generation) starts(ctx context.Context, owned []Assignment) (map[int]start, error) {
	partitions := make([]int, len(owned))
	for i, a := range owned {
		partitions[i] = a.Partition
	}
	bounds, err := g.t.Log.Bounds(ctx, partitions)
	if err != nil {
		err = fmt.Errorf("asking for the bounds of the log: %w", err)
	}
	fresh := g.gen.Fresh()
	var byTime map[int]int64
	if from := g.t.StartFrom; fresh && !from.Latest && !from.Time.IsZero() {
		var untimed error
		byTime, untimed = g.t.Log.OffsetsAt(ctx, slices.Collect(maps.Keys(bounds)), from.Time)
		if untimed != nil {
			return nil, fmt.Errorf("asking for the offsets at %s: %w", from.Time, errors.Join(untimed, err))
		}
	}
	starts := make(map[int]start, len(owned))
	for _, a := range owned {
		b, ok := bounds[a.Partition]
		if !ok {
			continue
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
	return starts, err
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
	lost := max(0, b.First-offset)
	t.metrics.lost.Add(float64(lost))
	t.log.Warn("the log does not have the offset to read on from; reading from its earliest record",
		"partition", partition, "offset", offset, "log_start", b.First, "log_end", b.Next, "lost", lost)
	return b.First
}
