package stream

import (
	"context"

	"cohortsync/internal/catalog"
	"cohortsync/internal/event"
	"cohortsync/internal/mapping"
)

// stageKeys is how many identifiers a stage gathers, at least, before they are
// put to the pending set.
const stageKeys = 128

// keepKeys is for how many identifiers a stage keeps its room.
const keepKeys = 4096

// stage gathers the changes of some records before they are put to the pending
// set in one go. Decoding and mapping are done without the target's mutex; and
// the places where the identifiers may be are looked at one after the other,
// which the processor does for many at once, while each by itself would wait for
// memory longer than all the rest takes.
type stage struct {
	records []staged
	keys    []stagedKey
	// text holds what records and keys point to.
	text []byte
	// touched keeps the compiler from leaving the looking out.
	touched slotOf
}

// staged is a decoded record.
type staged struct {
	route *catalog.Sync
	// cohort is known once the mutex is held.
	cohort              *cohort
	offset, stamp, time int64
	cohortID, name      stretch
	users               int
	// from and to bound its keys.
	from, to int
	in       bool
	issue    event.TimeIssue
}

// stagedKey is an identifier, or why there is none.
type stagedKey struct {
	stretch
	hash uint32
	skip mapping.Skip
}

// stretch is a part of a stage's text.
type stretch struct{ from, to int }

func (s *stage) copied(text []byte) stretch {
	from := len(s.text)
	s.text = append(s.text, text...)
	return stretch{from, len(s.text)}
}

func (s *stage) at(part stretch) []byte { return s.text[part.from:part.to:part.to] }

func (s *stage) full() bool { return len(s.keys) >= stageKeys || len(s.records) >= stageKeys }

// reset empties the stage and gives back what an unusually large record needed.
func (s *stage) reset() {
	if cap(s.keys) > keepKeys {
		*s = stage{}
		return
	}
	clear(s.records)
	s.records, s.keys, s.text = s.records[:0], s.keys[:0], s.text[:0]
}

// stageRecord gathers a decoded record. stamp is its Kafka timestamp in milliseconds.
func (f *feed) stageRecord(offset, stamp int64, ev *event.Event) {
	s := &f.stage
	s.records = append(s.records, staged{})
	r := &s.records[len(s.records)-1]
	r.route = f.g.t.Routes.Route(ev.CohortID)
	r.offset, r.stamp, r.time = offset, stamp, ev.Time
	r.cohortID, r.name = s.copied(ev.CohortID), s.copied(ev.CohortName)
	r.users, r.from, r.in, r.issue = len(ev.Users), len(s.keys), ev.InCohort, ev.TimeIssue
	if r.route != nil {
		for i := range ev.Users {
			f.keys = f.mapper.Map(&ev.Users[i], f.keys[:0])
			for j := range f.keys {
				key := &f.keys[j]
				s.keys = append(s.keys, stagedKey{})
				k := &s.keys[len(s.keys)-1]
				if k.skip = key.Skip; k.skip == mapping.SkipNone {
					k.stretch, k.hash = s.copied(key.Bytes), f.g.store.hash(key.Bytes)
				}
			}
		}
	}
	r.to = len(s.keys)
}

// unstage puts what is gathered to the pending set. now is the time by the
// target's clock. It returns false when ctx ended first: the rest stays
// unsettled.
func (f *feed) unstage(ctx context.Context, now int64) bool {
	s, t := &f.stage, f.g.t
	if len(s.records) == 0 {
		return true
	}
	defer s.reset()
	t.mu.Lock()
	told := f.welcome()
	all := true
	for i := range s.records {
		r := &s.records[i]
		all = f.put(ctx, r, now)
		if r.cohort != nil && (!all || i+1 == len(s.records) || s.records[i+1].cohort != r.cohort) {
			f.g.schedule.update(r.cohort, now)
		}
		if !all {
			break
		}
	}
	t.mu.Unlock()
	f.g.wake()
	for _, tell := range told {
		tell()
	}
	return all
}

// welcome finds the records' cohorts. It returns what to log once the mutex is
// released.
func (f *feed) welcome() (told []func()) {
	s := &f.stage
	for i := range s.records {
		r := &s.records[i]
		if r.route == nil {
			continue
		}
		c, news := f.cohort(s.at(r.cohortID), r.route)
		r.cohort = c
		told = f.doubtTime(c, r.issue, append(told, news...))
	}
	s.touch()
	return told
}

// touch looks at the places where the identifiers may be, and does nothing
// else, so that the processor can be at many of them at once.
func (s *stage) touch() {
	for i := range s.records {
		r := &s.records[i]
		if r.cohort == nil {
			continue
		}
		for _, k := range s.keys[r.from:r.to] {
			s.touched |= r.cohort.index.touch(k.hash)
		}
	}
}

// put puts every change of a staged record to the pending set. It returns false
// when ctx ended first.
func (f *feed) put(ctx context.Context, r *staged, now int64) bool {
	s, funnel := &f.stage, &f.g.t.funnel
	m := f.tracker.track(r.offset, r.stamp)
	f.g.memory.used += markCost
	switch {
	case r.cohort == nil:
		funnel.skip(reasonUnsynced, r.users)
	case r.cohort.unfit:
		funnel.skip(reasonBadAttribute, r.users)
	default:
		// By its fields, here and wherever one is made for each change: a literal
		// would be made elsewhere and copied in larger pieces than it was written
		// in, which the processor stalls on.
		var ch change
		ch.time, ch.offset, ch.stamp, ch.mark, ch.in = r.time, r.offset, r.stamp, m, r.in
		r.cohort.callIt(s.at(r.name), &ch)
		for k := r.from; k < r.to; k++ {
			key := &s.keys[k]
			if key.skip != mapping.SkipNone {
				funnel.skip(key.skip.String(), 1)
			} else if !f.insert(ctx, r.cohort, s.at(key.stretch), key.hash, &ch, now) {
				// A record that is cut short keeps the reader's hold, and with it the
				// offset: nobody may commit past users that were never looked at.
				return false
			}
		}
	}
	f.settle(m)
	return true
}
