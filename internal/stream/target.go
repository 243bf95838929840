// Package stream is the heart of cohortsync: it carries changes from the log
// to Braze in order and loses none.
//
// A Target runs for each Braze destination. It joins its own consumer group;
// each generation of the group owns some partitions, and a feed reads each of
// them into the pending set of its cohorts. One dispatcher takes batches from
// there, the oldest deadline first, and one goroutine a request sends them.
// What has settled moves the offsets that the committer commits. When the
// generation ends, its feeds stop, finish what is in flight, commit and forget
// the rest: the next owner reads it again.
//
// One mutex a target guards all of that state. It is held for map and list
// steps only, never across a channel, a call to Kafka or Braze, or a log line.
package stream

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"cohortsync/internal/catalog"
	"cohortsync/internal/mapping"
)

// Timing are the durations of group membership; see docs/configuration.md.
type Timing struct {
	SessionTimeout    time.Duration
	RebalanceTimeout  time.Duration
	HeartbeatInterval time.Duration
	DrainTimeout      time.Duration
	CommitInterval    time.Duration
}

// StartFrom is where a group without any commit begins. The zero value is the
// earliest record.
type StartFrom struct {
	// Latest begins behind the last record.
	Latest bool
	// Time, unless zero, begins at the first record of that time or later.
	Time time.Time
}

// Options are what a Target needs. All fields are required but StartFrom and
// Namer.
type Options struct {
	Target    catalog.Target
	Routes    *catalog.Routes
	Topic     string
	Group     string
	StartFrom StartFrom
	Timing    Timing
	// LateWindow is how long a settled change is remembered.
	LateWindow time.Duration
	// MaxMemory is this target's part of max_memory, in bytes.
	MaxMemory int64

	Membership  Membership
	Log         Log
	Source      Source
	Letters     Letters
	Destination Destination
	// Namer is nil for an API whose cohorts have no names.
	Namer    Namer
	Throttle Throttle

	// NewBackOff returns a backoff with full jitter and no end.
	NewBackOff func() backoff.BackOff
	Now        func() time.Time
	Logger     *slog.Logger
	Metrics    *Metrics
	Beats      *Beats
}

// Target keeps one Braze destination in step with the log. Its methods are
// safe for use by several goroutines.
type Target struct {
	Options
	log     *slog.Logger
	metrics *targetMetrics
	// born is where the target's clock begins.
	born time.Time
	// backfill is where each partition's backfill ends. It belongs to serve.
	backfill map[int]int64

	// mu guards all below, and the state of the generation and its feeds.
	mu     sync.Mutex
	gen    *generation
	joined bool
	lock   *lock
	// halted says that reading has stopped for too many undecodable records.
	halted     bool
	spent      letterBudget
	funnel     funnel
	deliveries deliveries
	// homes is the partition that each cohort was first seen in; split holds
	// those that have turned up in a second one.
	homes map[string]int
	split map[string]bool
}

// NewTarget returns a Target, with its metrics registered and at zero. It
// fails when the target's identifier rules make no sense.
func NewTarget(o Options) (*Target, error) {
	if _, err := mapping.New(o.Target.Identifiers, o.Target.Send); err != nil {
		return nil, fmt.Errorf("compiling the identifier rules of target %q: %w", o.Target.Name, err)
	}
	t := &Target{
		Options: o,
		log:     o.Logger.With("target", o.Target.Name),
		spent:   letterBudget{perMinute: o.Target.MaxDeadLettersPerMinute},
		funnel:  newFunnel(),
		born:    o.Now(),

		backfill: make(map[int]int64),
		homes:    make(map[string]int),
		split:    make(map[string]bool),
	}
	t.metrics = o.Metrics.target(t)
	return t, nil
}

// Run keeps the target going until ctx ends, then drains and leaves the group.
// It returns an error only for what waiting cannot mend.
func (t *Target) Run(ctx context.Context) error {
	return t.Membership.Run(ctx, func(ctx context.Context, gen Generation) {
		t.serve(ctx, gen)
	})
}

// Status is what the readiness page tells of a target.
type Status struct {
	Target string `json:"target"`
	// Joined says that the group has been joined at least once.
	Joined bool `json:"joined"`
	// Partitions is how many this worker owns at the moment.
	Partitions int `json:"partitions"`
	Pending    int `json:"pending"`
	// Locked holds the reasons for which the target is locked.
	Locked []string `json:"locked,omitempty"`
}

// Status returns the target's present state.
func (t *Target) Status() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := Status{Target: t.Options.Target.Name, Joined: t.joined, Locked: t.lockedBy()}
	if t.gen != nil {
		s.Partitions = len(t.gen.feeds)
		s.Pending = t.gen.pending
	}
	return s
}
