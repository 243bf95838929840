// Package braze talks to Braze: the cohorts API and the attributes API, the
// classes of their answers, and the throttle that all requests with one credential share. It
// knows nothing of Kafka.
package braze

import (
	"context"
	"errors"
	"time"

	"cohortsync/internal/catalog"
)

// Naming gives a cohort its name in Braze's dashboard.
type Naming struct {
	CohortID string
	Name     string
	// CreatedAt is when the newest change that bore this name was computed.
	CreatedAt time.Time
}

// Item is one change of one identifier: it enters the cohort or leaves it.
type Item struct {
	Identifier catalog.Identifier
	Remove     bool
}

// Batch is what one cohort's members are told in one go. No identifier is in
// it twice; the caller keeps it to the target's MaxBatch.
type Batch struct {
	CohortID string
	// Attribute is the cohort's custom attribute; the cohorts API has none.
	Attribute string
	Items     []Item
}

// Admit is asked just before each request is written. It waits for the
// throttle where it must, and returns an error when the request may not start
// any more: the lease has run out or the generation has ended. The client
// then stops and reports what is left as Retry.
type Admit func(ctx context.Context) error

// Outcome is what became of one item.
type Outcome uint8

// Retry is the zero value on purpose: an item that nobody settled is to be
// sent again.
const (
	Retry Outcome = iota
	Delivered
	AtFault
)

// Fault says why Braze refuses an item. Message is redacted.
type Fault struct {
	Status  int
	Message string
}

// Report holds one outcome for each item of a batch.
type Report struct {
	// Outcomes has the batch's length and order.
	Outcomes []Outcome
	// Faults explains each item that is AtFault, by its index.
	Faults map[int]Fault
	// Err is nil exactly when no outcome is Retry. It is an *Error unless admit
	// refused or the context ended.
	Err error
}

// Class is how the caller goes on after a failed request.
type Class uint8

// The classes of failed requests, from the table of failures in docs/design.md.
const (
	// Unreachable: network error, timeout, 408, 5xx. Retried; counts for the
	// breaker.
	Unreachable Class = iota + 1
	// Unexpected: anything that Braze does not document. As Unreachable, but
	// counted by itself.
	Unexpected
	// Limited: 429. Retried after the reset; does not count for the breaker.
	Limited
	// Busy: 423, the cohort is locked by another request. Retried; does not
	// count for the breaker.
	Busy
	// Refused: 401, 403, 404. Locks the target.
	Refused
	// Invalid: a 400 about the request itself or about everybody in it. Locks
	// the target and dead-letters nobody.
	Invalid
)

// String returns the class as it stands in metrics and logs.
func (c Class) String() string {
	switch c {
	case Unreachable:
		return "unreachable"
	case Unexpected:
		return "unexpected"
	case Limited:
		return "limited"
	case Busy:
		return "busy"
	case Refused:
		return "refused"
	case Invalid:
		return "invalid"
	default:
		return "unknown"
	}
}

// Locks says that the failure locks the target.
func (c Class) Locks() bool { return c == Refused || c == Invalid }

// Error is a failed request. Its text never holds a secret.
type Error struct {
	Class Class
	// Status is the HTTP status, or 0 when there was no answer.
	Status int
	// Message is what Braze said, redacted and cut, or what failed.
	Message string
	// Err is the cause when there was no answer, for errors.Is.
	Err error
}

// ClassOf returns the class of the *Error in err's chain; anything else, such
// as an ended context, has none and ok is false.
func ClassOf(err error) (class Class, ok bool) {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class, true
	}
	return 0, false
}

func (e *Error) Error() string { return e.Message }

func (e *Error) Unwrap() error { return e.Err }
