package stream

import (
	"context"
	"errors"
	"time"

	"cohortsync/internal/braze"
)

// Header is one record header. Kafka allows a key more than once.
type Header struct {
	Key   string
	Value []byte
}

// Record is one record of the topic. Value is nil for a tombstone.
type Record struct {
	Offset  int64
	Time    time.Time
	Key     []byte
	Value   []byte
	Headers []Header
	// Control marks a transaction's marker: it carries no data and is passed
	// over uncounted.
	Control bool
}

// Fetched is what one fetch brought: Records in the order of the log, every
// one at or past the offset that was asked for. It may hold none although the
// position moved, for compaction and transactions leave gaps.
type Fetched struct {
	Records []Record
	// Next is the offset to read on from; never below the offset asked for.
	Next int64
	// HighWatermark is the offset that the next record of the partition will
	// get, or -1 when the fetch did not say.
	HighWatermark int64
}

// Bounds are the offsets that a partition holds: [First, Next).
type Bounds struct {
	First int64
	Next  int64
}

// ErrOffsetOutOfRange says that the log does not have the offset asked for.
var ErrOffsetOutOfRange = errors.New("the log does not have this offset")

// ErrLetterTooLarge says that the broker refuses a letter for its size, for
// good: writing the same letter again cannot help.
var ErrLetterTooLarge = errors.New("the broker refuses the letter as too large")

// Log reads the topic. It is safe for use by several goroutines.
type Log interface {
	// Bounds returns the bounds of the given partitions; those that cannot be
	// had, for their leader is missing, are missing too, and told by the error.
	Bounds(ctx context.Context, partitions []int) (map[int]Bounds, error)
	// OffsetsAt returns the first offset at or after t of each partition; the
	// partition's Next when it has no such record.
	OffsetsAt(ctx context.Context, partitions []int, t time.Time) (map[int]int64, error)
	// Open returns a cursor on one partition. It does not touch the network.
	Open(partition int) Cursor
}

// Cursor fetches from one partition. It belongs to one goroutine.
type Cursor interface {
	// Fetch waits for records at or past offset and returns about maxBytes of
	// them, at least one; after a long poll without any it returns an empty
	// Fetched and no error. It returns ErrOffsetOutOfRange (wrapped) when the
	// log does not have the offset; after any other error the caller backs off
	// and fetches again, and the cursor connects anew by itself. The slice of
	// records is the cursor's again with the next Fetch; what they point to is the
	// caller's.
	Fetch(ctx context.Context, offset int64, maxBytes int) (Fetched, error)
	// Close releases the connection. Fetch must not be running.
	Close() error
}

// Assignment is one partition that a generation owns.
type Assignment struct {
	Partition int
	// Committed is the group's committed offset, or -1 when it has none.
	Committed int64
	// New says that the partition was added after this worker first looked at
	// the group: start_from does not hold for it.
	New bool
}

// Generation is one generation of the group: what this member owns until the
// next rebalance.
type Generation interface {
	// Assigned returns the partitions that this member owns, perhaps none, and
	// how many the topic has.
	Assigned() (owned []Assignment, total int)
	// Fresh says that the group had no commit for any partition when this
	// worker joined it and that no generation here has committed since.
	Fresh() bool
	// Commit commits offsets and returns nil only when the broker accepted
	// all of them in this generation. One call at a time.
	Commit(ctx context.Context, offsets map[int]int64) error
}

// Membership is this worker's place in a target's consumer group.
type Membership interface {
	// Run joins the group and calls serve for each generation, never two at
	// once, until ctx ends; then it leaves the group and returns nil. serve's
	// context ends when the generation does; the group waits for serve to
	// return, and Commit still works until then. When serve returns before
	// its context has ended, the member rejoins. Run returns an error only for
	// what waiting cannot mend, such as a refused topic.
	Run(ctx context.Context, serve func(ctx context.Context, gen Generation)) error
}

// Letter is one record for the dead-letter topic.
type Letter struct {
	Partition int
	Key       []byte
	// Value is nil for a letter written without its value.
	Value   []byte
	Headers []Header
}

// Letters writes dead letters. It is safe for use by several goroutines.
type Letters interface {
	// Write returns nil once the broker has acknowledged the letter with
	// acks=all, and ErrLetterTooLarge (wrapped) when it never will.
	Write(ctx context.Context, letter Letter) error
}

// Namer names cohorts in Braze.
type Namer interface {
	// Name names or renames a cohort with one request.
	Name(ctx context.Context, naming braze.Naming, admit braze.Admit) error
}

// Destination is a target's Braze API.
type Destination interface {
	// Deliver sends a batch, in as many requests as it takes to find out what
	// becomes of every item. It never sends after admit has refused, and does
	// not keep the items: they are used again.
	Deliver(ctx context.Context, batch braze.Batch, admit braze.Admit) braze.Report
}

// ErrRecordGone says that the log no longer has a record: retention took it.
var ErrRecordGone = errors.New("the log no longer has this record")

// Source reads single records again, for dead letters. It is safe for use by
// several goroutines.
type Source interface {
	// ReadAt returns the record at the offset, or ErrRecordGone (wrapped).
	ReadAt(ctx context.Context, partition int, offset int64) (Record, error)
}

// Throttle is the rate limit and breaker of one Braze credential.
type Throttle interface {
	// Take spends a token and returns 0 when a request may start now; else it
	// returns how long to wait, at most, before asking again.
	Take() time.Duration
	// Wait blocks until Take succeeds or ctx ends.
	Wait(ctx context.Context) error
	// Share tells which part of the group's partitions this worker owns, and
	// with it which part of the limit it may use.
	Share(group string, owned, total int)
}
