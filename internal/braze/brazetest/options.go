// Package brazetest simulates Braze's cohorts API
// (https://www.braze.com/docs/partners/isv_partners/cohort_import) and its
// attributes API (https://www.braze.com/docs/api/endpoints/user_data/post_user_track):
// their limits, their error texts, their rate-limit headers, and the ways in
// which they fail. It keeps a history of what it was asked and what it applied,
// and notes what a client must never do.
//
// A boolean attribute is to the attributes API what a cohort is to the cohorts
// API, and is kept as one: true is a member, false or null is none, and its
// name stands where a cohort's id does.
package brazetest

import (
	"time"

	"cohortsync/internal/catalog"
)

// Dialect is how the rate-limit headers tell the reset.
type Dialect uint8

// Braze has two: X-RateLimit-Reset as a time (the default), or as seconds and
// on 429 X-Ratelimit-Retry-After alone.
const (
	EpochReset Dialect = iota
	DeltaReset
)

// Options are what a Server is made with. The zero value takes any keys.
type Options struct {
	// PartnerKey and APIKey are the keys that are accepted; empty takes any.
	// APIKey is the client secret of the cohorts API and the bearer token of
	// the attributes API.
	PartnerKey, APIKey string
	// Partner is the path segment; empty takes "amplitude".
	Partner string
	// Seed seeds the faults and the jitter of the latency.
	Seed uint64
	// Bad says which identifiers make Braze refuse the whole request with 400,
	// or on the attributes API the items that have them.
	Bad func(catalog.Identifier) bool
	// Known says which users exist, others are ignored; nil knows all.
	Known func(catalog.Identifier) bool
	// Identified says which device ids belong to identified users: those are
	// ignored.
	Identified func(deviceID string) bool
	// Limit is the number of requests in each Per, counted from the full hour
	// for an hour; 0 is Braze's 250,000 an hour, and a negative one is none.
	Limit int
	Per   time.Duration
	// TrackLimit and TrackPer are the same for the attributes API; 0 is
	// Braze's 3,000 in 3 s.
	TrackLimit int
	TrackPer   time.Duration
	Dialect    Dialect
	// ApplyWithin makes the attributes API apply what it has accepted as
	// Braze does: each item by itself, at a random moment in [0, ApplyWithin)
	// after the answer, so in any order. 0 applies before the answer.
	ApplyWithin time.Duration
	// MaxBody is the largest body in bytes; 0 is Braze's 4 MB.
	MaxBody int
	// HistoryLimit is how many of the newest requests and violations are kept;
	// 0 keeps all.
	HistoryLimit int
	// HistoryOps is how many operations of an answered request are kept in the
	// history; 0 keeps all.
	HistoryOps int
	// OperationLimit is how many of the newest operations are kept of each
	// identifier in a cohort; 0 keeps all, or only the last one when
	// HistoryLimit is set.
	OperationLimit int
	// Observe is told of every request when it has come and again when it is
	// over, with all its operations; nil is told nothing. It must not call the
	// server, nor keep the operations.
	Observe func(Request)
}

// Op is one change of one identifier in a request.
type Op struct {
	Identifier catalog.Identifier
	Remove     bool
	// Cohort is the cohort's id, or the attribute's name.
	Cohort string
	// Error is why Braze refuses the item by itself; only the attributes API
	// does that.
	Error string
}

// Request is one request as the server saw it.
type Request struct {
	Seq        int
	ReceivedAt time.Time
	// AnsweredAt is zero while there is no answer and when there never was.
	AnsweredAt time.Time
	// Over says that the request is answered, or that no answer will come.
	Over bool
	Path string
	// Track says that the request came by the attributes API.
	Track bool
	// Cohort is the cohort's id, or the attribute's name when the request is
	// about one only.
	Cohort string
	// Naming says that the request names the cohort, with Name.
	Naming bool
	Name   string
	Ops    []Op
	// Adds, Removes and Refused count the ops, of which a bounded history keeps
	// only some: those without an error, and those with one.
	Adds, Removes, Refused int
	// Status is the answer's, or 0 when none was given.
	Status int
	// Applied says that Braze took the request. On the attributes API it may
	// still be about to apply it, all but the ops with an error.
	Applied bool
	// UserAgent is as the client sent it.
	UserAgent string
}

// Operation is a change that was applied.
type Operation struct {
	// Seq is the request's.
	Seq    int
	At     time.Time
	Remove bool
}
