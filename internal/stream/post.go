package stream

import (
	"context"
	"errors"

	"cohortsync/internal/event"
)

// parcel is a letter on its way, and how to make it smaller.
type parcel struct {
	letter Letter
	// smaller returns what to write in its place when it is too large; nil when
	// nothing can be left out.
	smaller func() []*parcel
}

// wholeParcel packs the letter about a record that cannot be decoded.
func wholeParcel(r *Record, why failure) *parcel {
	return &parcel{
		letter:  letterOf(r, r.Value, why),
		smaller: func() []*parcel { return []*parcel{bareParcel(r, why)} },
	}
}

// usersParcel packs the letter about some users of a record: its payload cut
// down to them. Without any, for the record is gone or has changed its
// meaning, the letter has no value.
func usersParcel(r *Record, why failure, users []culprit) *parcel {
	if len(users) == 0 {
		return bareParcel(r, why)
	}
	keep := make([]int, len(users))
	why.identifiers = nil
	for i, u := range users {
		keep[i] = u.user
		why.identifiers = append(why.identifiers, u.identifiers...)
	}
	value, err := event.Cut(r.Value, keep)
	if err != nil {
		return bareParcel(r, why)
	}
	return &parcel{letter: letterOf(r, value, why), smaller: func() []*parcel {
		if half := len(users) / 2; half > 0 {
			return []*parcel{usersParcel(r, why, users[:half]), usersParcel(r, why, users[half:])}
		}
		return []*parcel{bareParcel(r, why)}
	}}
}

// bareParcel packs a letter without a value. What it tells is in its headers:
// first each identifier goes by itself, then the record's own headers go.
func bareParcel(r *Record, why failure) *parcel {
	p := &parcel{letter: letterOf(r, nil, why)}
	half := len(why.identifiers) / 2
	switch {
	case half > 0:
		p.smaller = func() []*parcel {
			front, back := why, why
			front.identifiers, back.identifiers = why.identifiers[:half], why.identifiers[half:]
			return []*parcel{bareParcel(r, front), bareParcel(r, back)}
		}
	case len(r.Headers) == 0 && len(r.Key) > 0:
		p.smaller = func() []*parcel { return []*parcel{bareParcel(&Record{Offset: r.Offset, Time: r.Time}, why)} }
	case len(r.Headers) > 0:
		p.smaller = func() []*parcel {
			return []*parcel{bareParcel(&Record{Offset: r.Offset, Time: r.Time, Key: r.Key}, why)}
		}
	}
	return p
}

func letterOf(r *Record, value []byte, why failure) Letter {
	return Letter{Partition: why.partition, Key: r.Key, Value: value, Headers: why.headers(r.Headers)}
}

// post writes a letter until Kafka has acknowledged it, as long as the
// generation lives. Meanwhile the feed reads nothing more. A letter that is
// too large is divided and then cut down.
func (g *generation) post(ctx, sending context.Context, f *feed, p *parcel) bool {
	retry := g.t.NewBackOff()
	failing := false
	defer func() {
		if failing {
			g.hold(f, -1)
		}
	}()
	for ctx.Err() == nil {
		f.beat.beat()
		err := g.t.Letters.Write(sending, p.letter)
		switch {
		case err == nil:
			if failing {
				g.t.log.Info("dead letters can be written again", "partition", f.partition)
			}
			return true
		case errors.Is(err, ErrLetterTooLarge) && p.smaller != nil:
			return g.postAll(ctx, sending, f, p.smaller())
		}
		g.t.metrics.letterFailures.Inc()
		if !failing && ctx.Err() == nil {
			failing = true
			g.hold(f, 1)
			g.t.log.Error("a dead letter cannot be written; the partition waits for it",
				"partition", f.partition, "error", err)
		}
		f.beat.beat()
		pause(ctx, min(retry.NextBackOff(), BeatEvery))
	}
	return false
}

func (g *generation) postAll(ctx, sending context.Context, f *feed, parcels []*parcel) bool {
	for _, p := range parcels {
		if !g.post(ctx, sending, f, p) {
			return false
		}
	}
	return true
}

// hold stops the feed's reading for one more letter, or for one less.
func (g *generation) hold(f *feed, n int) {
	g.t.mu.Lock()
	defer g.t.mu.Unlock()
	f.held += n
	g.memory.announce()
}

// reread fetches a letter's source record, as long as the generation lives. A
// record that retention has taken comes back empty: its letter is written
// without a value.
func (g *generation) reread(ctx, sending context.Context, f *feed, offset int64) (Record, bool) {
	retry := g.t.NewBackOff()
	failing := false
	for ctx.Err() == nil {
		r, err := g.t.Source.ReadAt(sending, f.partition, offset)
		switch {
		case err == nil:
			return r, true
		case errors.Is(err, ErrRecordGone), errors.Is(err, ErrOffsetOutOfRange):
			return Record{Offset: offset}, true
		}
		if !failing && ctx.Err() == nil {
			failing = true
			g.t.log.Warn("the source of a dead letter cannot be read; trying again",
				"partition", f.partition, "offset", offset, "error", err)
		}
		pause(ctx, min(retry.NextBackOff(), BeatEvery))
	}
	return Record{}, false
}
