package stream

import (
	"bytes"

	"github.com/cenkalti/backoff/v4"

	"cohortsync/internal/catalog"
)

// cohort is one sync's cohort in one feed: its identifiers, and when its next
// request may leave.
type cohort struct {
	id   string
	feed *feed
	sync *catalog.Sync
	turn *turn
	// attribute is the cohort's custom attribute, and unfit says that it must
	// not be written; both for the attributes API only.
	attribute string
	unfit     bool
	// nameless says that the target's API does not name cohorts.
	nameless bool

	// store keeps the entries, by number they know their cohort, and index finds
	// them.
	store  *store
	number uint32
	index  index
	// queue holds the waiting entries that neither fly nor cool, oldest first.
	queue list

	// name is what the newest record that bore a name calls the cohort, as of
	// nameTime and nameOffset, or of the last record as long as none bore one;
	// named is the name that Braze has accepted, empty before the first.
	name       string
	nameTime   int64
	nameOffset int64
	named      string

	// sent is when the last request of the cohort left, in nanoseconds.
	sent int64
	// notBefore holds the cohort back after a failure, in nanoseconds.
	notBefore int64
	retry     backoff.BackOff

	// slot is where the cohort stands in the schedule.
	slot slot
	// warnedTime says that a bad computed_time has been warned about.
	warnedTime bool
}

// turn is the right to have a request of a cohort in flight: one on the cohorts
// API, which answers 423 to a second. The feeds of one worker share it, for a
// cohort may turn up in a second partition. Then there is one in flight whatever
// the API, for one user may be in both.
type turn struct {
	inFlight, most int
	cohorts        []*cohort
}

func (t *turn) taken() bool {
	return t.inFlight >= t.most || len(t.cohorts) > 1 && t.inFlight > 0
}

// label is the cohort's name for Braze. The id stands in for a missing name.
func (c *cohort) label() string {
	if c.name == "" {
		return c.id
	}
	return c.name
}

func (c *cohort) needsNaming() bool { return !c.nameless && c.named != c.label() }

// callIt notes the name that a record gives the cohort, unless a newer record
// has named it.
func (c *cohort) callIt(name []byte, at *change) {
	name = bytes.TrimSpace(name) // Braze wants one that is not empty.
	older := at.time < c.nameTime || at.time == c.nameTime && at.offset < c.nameOffset
	if c.name != "" && (len(name) == 0 || older) {
		return
	}
	if string(name) != c.name {
		c.name = string(name)
	}
	c.nameTime, c.nameOffset = at.time, at.offset
}

// due returns when the cohort's next request may leave and its place among
// the cohorts that may, both in nanoseconds; ok is false when it has nothing
// to send or may not. A new name is worth a request of its own; the first name
// waits for the first members.
//
// The place counts from the last request rather than from the oldest change
// where that is later. A cohort of ten million whose changes all came at once
// would otherwise stay the oldest until its last batch.
func (c *cohort) due(maxBatch int) (at, deadline int64, ok bool) {
	if c.turn.taken() {
		return 0, 0, false
	}
	linger := int64(c.sync.Linger)
	if c.queue.length == 0 {
		renamed := c.named != "" && c.needsNaming()
		return c.notBefore, c.sent + linger, renamed
	}
	oldest := c.store.at(c.queue.front).arrived
	at = oldest + linger
	if c.queue.length >= maxBatch {
		at = oldest
	}
	return max(at, c.notBefore), max(oldest, c.sent) + linger, true
}

// Why a batch left, for a metric's label.
const (
	leftFull   = "full"
	leftLinger = "linger"
	leftRetry  = "retry"
)

func (c *cohort) leaves(maxBatch int) string {
	switch {
	case c.notBefore > 0:
		return leftRetry
	case c.queue.length >= maxBatch:
		return leftFull
	default:
		return leftLinger
	}
}

// holdBack keeps the cohort from sending for the next step of its backoff.
func (c *cohort) holdBack(clock int64, newBackOff func() backoff.BackOff) {
	if c.retry == nil {
		c.retry = newBackOff()
	}
	c.notBefore = clock + int64(c.retry.NextBackOff())
}

func (c *cohort) succeeded() {
	c.retry = nil
	c.notBefore = 0
}
