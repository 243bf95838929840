package stream

import (
	"maps"

	"cohortsync/internal/mapping"
)

// funnel counts what became of every change of one target. Its unit is one
// change for one identifier, after mapping; a user without any, or of a cohort
// that nobody syncs, counts as one that was skipped. At any moment
//
//	consumed = delivered + superseded + stale + skipped + deadLettered + released + pending
//
// for the target's mutex guards it together with the pending set.
type funnel struct {
	consumed     uint64
	delivered    uint64
	superseded   uint64
	stale        uint64
	deadLettered uint64
	// released were forgotten when their partition was revoked; whoever owns
	// it next consumes them again.
	released uint64
	skipped  map[string]uint64
}

// Why the users of a whole cohort are skipped: it has no sync, or its custom
// attribute must not be written.
const (
	reasonUnsynced     = "unsynced_cohort"
	reasonBadAttribute = "bad_attribute"
)

func newFunnel() funnel {
	f := funnel{skipped: map[string]uint64{reasonUnsynced: 0, reasonBadAttribute: 0}}
	for _, reason := range mapping.Skips() {
		f.skipped[reason.String()] = 0
	}
	return f
}

func (f *funnel) skip(reason string, n int) {
	f.consumed += uint64(n)
	f.skipped[reason] += uint64(n)
}

// clone returns a copy for a scrape to read without the mutex.
func (f *funnel) clone() funnel {
	c := *f
	c.skipped = make(map[string]uint64, len(f.skipped))
	maps.Copy(c.skipped, f.skipped)
	return c
}
