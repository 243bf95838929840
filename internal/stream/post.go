package stream

import (
	"context"
	"errors"

	"cohortsync/internal/event"
)

// parcel is a letter on its way, and how to divide it.
type parcel struct {
	letter Letter
	// halves returns the letter in two parts, or is nil when it holds one user
	// or cannot be divided.
	halves func() []*parcel
}

// newParcel packs the letter about some users of a record: its payload cut
// down to them. Without any, for the record is gone or has changed its
// meaning, the letter has no value.
func newParcel(r *Record, why failure, users []culprit) *parcel {
	p := &parcel{}
	if len(users) > 0 {
		keep := make([]int, len(users))
		why.identifiers = nil
		for i, u := range users {
			keep[i] = u.user
			why.identifiers = append(why.identifiers, u.identifiers...)
		}
		if value, err := event.Cut(r.Value, keep); err == nil {
			p.letter.Value = value
		}
	}
	if len(users) > 1 {
		p.halves = func() []*parcel {
			half := len(users) / 2
			return []*parcel{newParcel(r, why, users[:half]), newParcel(r, why, users[half:])}
		}
	}
	p.letter.Partition = why.partition
	p.letter.Key = r.Key
	p.letter.Headers = why.headers(r.Headers)
	return p
}

// post writes a letter until Kafka has acknowledged it, as long as the
// generation lives. Meanwhile the feed reads nothing more. A letter that is
// too large is divided, or written without its value where it cannot be.
func (g *generation) post(ctx, sending context.Context, f *feed, p *parcel) bool {
	retry := g.t.NewBackOff()
	failing := false
	defer func() {
		if failing {
			g.hold(f, -1)
		}
	}()
	for ctx.Err() == nil {
		err := g.t.Letters.Write(sending, p.letter)
		switch {
		case err == nil:
			if failing {
				g.t.log.Info("dead letters can be written again", "partition", f.partition)
			}
			return true
		case errors.Is(err, ErrLetterTooLarge) && p.letter.Value != nil:
			return g.postSmaller(ctx, sending, f, p)
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

func (g *generation) postSmaller(ctx, sending context.Context, f *feed, p *parcel) bool {
	if p.halves == nil {
		p.letter.Value = nil
		return g.post(ctx, sending, f, p)
	}
	for _, half := range p.halves() {
		if !g.post(ctx, sending, f, half) {
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
