package main

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// tally counts what was written. It is safe for concurrent use.
type tally struct {
	records, changes atomic.Int64
	// uncertain counts records that were sent and not acknowledged.
	uncertain atomic.Int64

	mu sync.Mutex
	// troubles has the last error of each partition whose batch is sent again.
	troubles map[int]error
}

func (t *tally) acknowledged(r record) {
	t.records.Add(1)
	t.changes.Add(int64(r.people.users))
}

// trouble notes why a partition's batch has to be sent again; nil ends it.
func (t *tally) trouble(partition int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.troubles == nil {
		t.troubles = make(map[int]error)
	}
	if t.troubles[partition] = err; err == nil {
		delete(t.troubles, partition)
	}
}

// standing says in words how Kafka takes the records, "" when all is well.
func (t *tally) standing() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.troubles) == 0 {
		return ""
	}
	first := slices.Min(slices.Collect(maps.Keys(t.troubles)))
	return fmt.Sprintf("sending again to %d partitions, such as %d: %v", len(t.troubles), first, t.troubles[first])
}
