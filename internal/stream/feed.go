package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cohortsync/internal/event"
	"cohortsync/internal/mapping"
)

// feed is the life of one partition of one target in the worker that owns it.
type feed struct {
	g           *generation
	partition   int
	beat        *loop
	backfillEnd int64

	// These belong to the reading goroutine.
	cursor  Cursor
	decoder *event.Decoder
	mapper  *mapping.Mapper
	keys    []mapping.Key
	stage   stage
	offset  int64

	// These are guarded by the target's mutex.
	tracker tracker
	cohorts map[string]*cohort
	// pending counts the feed's changes that are not settled.
	pending int
	// resting counts the feed's entries that cool down.
	resting int
	// held counts the dead letters that cannot be written at the moment; they
	// stop reading.
	held      int
	committed int64
	bounds    Bounds
}

func newFeed(g *generation, partition int, s start) *feed {
	mapper := g.t.mapper()
	return &feed{
		g:           g,
		partition:   partition,
		cursor:      g.t.Log.Open(partition),
		decoder:     event.NewDecoder(mapper.Paths()),
		mapper:      mapper,
		offset:      s.offset,
		tracker:     tracker{next: s.offset},
		cohorts:     make(map[string]*cohort),
		bounds:      s.bounds,
		backfillEnd: s.backfillEnd,
	}
}

// read fetches and keeps changes until ctx ends.
func (f *feed) read(ctx, sending context.Context) {
	f.beat = f.g.t.loop(fmt.Sprintf("read %d of", f.partition))
	defer f.beat.done()
	defer func() {
		if err := f.cursor.Close(); err != nil {
			f.g.t.log.Debug("closing a cursor", "partition", f.partition, "error", err)
		}
	}()
	retry := f.g.t.NewBackOff()
	failing := false
	for f.ready(ctx) {
		f.beat.beat()
		fetched, err := f.cursor.Fetch(ctx, f.offset, f.g.memory.fetch)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrOffsetOutOfRange):
			if err = f.realign(ctx); err == nil {
				continue
			}
			fallthrough
		default:
			if err != nil {
				if !failing {
					f.g.t.log.Warn("reading fails; trying again", "partition", f.partition, "error", err)
				}
				failing = true
				f.g.t.metrics.fetchFailures.Inc()
				pause(ctx, min(retry.NextBackOff(), BeatEvery))
				continue
			}
		}
		if failing {
			f.g.t.log.Info("reading works again", "partition", f.partition)
			failing = false
		}
		retry.Reset()
		if !f.keep(ctx, sending, fetched) {
			return
		}
	}
}

// ready waits until the feed may read.
func (f *feed) ready(ctx context.Context) bool {
	f.g.t.mu.Lock()
	defer f.g.t.mu.Unlock()
	return f.g.awaitRoom(ctx, f)
}

// realign moves the position into the log after it turned out to be outside.
func (f *feed) realign(ctx context.Context) error {
	bounds, err := f.g.t.Log.Bounds(ctx, []int{f.partition})
	if err != nil {
		return fmt.Errorf("asking for the bounds of the log: %w", err)
	}
	b, ok := bounds[f.partition]
	if !ok {
		return errors.New("asking for the bounds of the log: no answer")
	}
	if f.offset >= b.First && f.offset <= b.Next {
		return errors.New("the broker refuses an offset that its log should have")
	}
	moved := f.g.t.clamp(f.partition, f.offset, b)
	f.g.t.mu.Lock()
	defer f.g.t.mu.Unlock()
	f.offset = moved
	f.bounds = b
	f.tracker.move(moved)
	return nil
}

// keep takes in what was fetched. It returns false when ctx has ended before
// all of it was kept; the rest stays unsettled.
func (f *feed) keep(ctx, sending context.Context, fetched Fetched) bool {
	size := int64(0)
	for i := range fetched.Records {
		size += int64(len(fetched.Records[i].Key) + len(fetched.Records[i].Value))
	}
	extra := max(0, size-int64(f.g.memory.fetch))
	f.charge(extra)
	defer f.charge(-extra)

	in := intake{now: f.g.t.Now()}
	defer in.count(f.g.t.metrics)
	for i := range fetched.Records {
		r := &fetched.Records[i]
		if r.Offset < f.offset {
			continue
		}
		if !r.Control && !f.record(ctx, sending, r, &in) {
			return false
		}
		f.offset = r.Offset + 1
	}
	if !f.unstage(ctx, f.g.t.clock(in.now)) {
		return false
	}
	f.offset = max(f.offset, fetched.Next)

	f.g.t.mu.Lock()
	defer f.g.t.mu.Unlock()
	f.tracker.advance(f.offset)
	if fetched.HighWatermark >= 0 {
		f.bounds.Next = fetched.HighWatermark
	}
	return true
}

func (f *feed) charge(bytes int64) {
	if bytes == 0 {
		return
	}
	f.g.t.mu.Lock()
	defer f.g.t.mu.Unlock()
	f.g.memory.used += bytes
}

// intake is what one fetch comes to. It is counted once: a counter and a clock
// for every record cost as much as decoding it.
type intake struct {
	now                   time.Time
	records, bytes, users int
}

func (in *intake) count(m *targetMetrics) {
	m.records.Add(float64(in.records))
	m.bytes.Add(float64(in.bytes))
	m.users.Add(float64(in.users))
}

// record takes in one record.
func (f *feed) record(ctx, sending context.Context, r *Record, in *intake) bool {
	t := f.g.t
	in.records++
	in.bytes += len(r.Value)
	if len(r.Value) == 0 {
		t.metrics.emptyRecords.Inc()
		return true
	}
	stamp := believed(r.Time, in.now)
	ev, err := f.decoder.Decode(r.Value, stamp)
	if err != nil {
		t.metrics.undecodable[decodeReason(err)].Inc()
		// Records are tracked in the order of the log.
		return f.unstage(ctx, t.clock(in.now)) && f.g.buryRecord(ctx, sending, f, r, err)
	}
	in.users += len(ev.Users)
	if ev.TimeIssue != event.TimeOK {
		t.metrics.timeIssues[ev.TimeIssue].Inc()
	}
	f.stageRecord(r.Offset, stamp.UnixMilli(), ev)
	return !f.stage.full() || f.unstage(ctx, t.clock(in.now))
}

// year2000 is before all of Kafka and Amplitude, in seconds of the Unix epoch.
const year2000 = 946_684_800

// believed returns a record's Kafka timestamp, or the present moment in the
// place of one that cannot be right: before the year 2000, or a day ahead. A
// producer that writes microseconds would otherwise win over every change to
// come. Such records are read in the log's order, and so keep it.
func believed(stamp, now time.Time) time.Time {
	if stamp.Unix() < year2000 || stamp.Sub(now) > 24*time.Hour {
		return now
	}
	return stamp
}

// insert puts one change to the pending set, waiting for room where it must.
// The caller holds the mutex. It returns false when ctx ended first.
func (f *feed) insert(ctx context.Context, c *cohort, key []byte, hash uint32, ch *change, now int64) bool {
	g := f.g
	r := g.store.find(c, key, hash)
	if r == 0 && !g.hasRoom(f, entryCost+int64(len(key))) {
		// What is already here may have to leave to make room.
		g.schedule.update(c, now)
		g.wake()
		if !g.awaitRoom(ctx, f) {
			return false
		}
		r = g.store.find(c, key, hash)
	}
	if r == 0 {
		r = g.store.add(c, key, hash)
		g.memory.used += g.store.at(r).cost()
	}
	funnel := &g.t.funnel
	funnel.consumed++
	switch v, replaced := c.put(r, ch, now, &g.late); v {
	case kept:
		f.tracker.hold(ch.mark)
		f.count(1)
	case replacing:
		f.tracker.hold(ch.mark)
		funnel.superseded++
		f.settle(replaced)
	case superseded:
		funnel.superseded++
	case stale:
		funnel.stale++
	}
	return true
}

// count changes how many unsettled changes there are.
func (f *feed) count(n int) {
	f.pending += n
	f.g.pending += n
}

// settle takes a hold off a record and gives back the memory of those that are
// settled now.
func (f *feed) settle(m markID) {
	f.g.memory.used -= int64(f.tracker.settle(m)) * markCost
}

// clock turns a time into nanoseconds since the target was made, by the
// monotonic clock: lingering and late memory must not follow the wall clock
// when it is set.
func (t *Target) clock(now time.Time) int64 { return int64(now.Sub(t.born)) + 1 }

func (t *Target) mapper() *mapping.Mapper {
	m, err := mapping.New(t.Options.Target.Identifiers, t.Options.Target.Send)
	if err != nil {
		// NewTarget has compiled the same rules already.
		panic(err)
	}
	return m
}
