package main

import (
	"context"
	"time"

	"github.com/segmentio/kafka-go"
)

// pump takes the records from their sequence to their partitions, at the rate
// that is asked for.
type pump struct {
	sequence *sequence
	// places says which lane each cohort's records take.
	places []int
	lanes  []lane
	rate   int
}

// lane is the way to one partition.
type lane struct {
	waiting []record
	out     chan []record
}

// lanePieces is how many pieces of work wait before each partition.
const lanePieces = 4

// tick is how long the pump pauses at least when it is ahead of its rate, so
// that requests at a high rate have more than a record or two.
const tick = 5 * time.Millisecond

func newPump(s *sequence, partitions []int) *pump {
	p := &pump{sequence: s, places: placesOf(s.people, partitions), lanes: make([]lane, len(partitions)), rate: s.Rate}
	for i := range p.lanes {
		p.lanes[i].out = make(chan []record, lanePieces)
	}
	return p
}

// placesOf returns, for each cohort, the index of the partition that Kafka's
// own producers choose for its key.
func placesOf(people *population, partitions []int) []int {
	all := make([]int, len(partitions))
	for i := range all {
		all[i] = i
	}
	places := make([]int, len(people.ends))
	for cohort := range places {
		places[cohort] = kafka.Murmur2Balancer{}.Balance(kafka.Message{Key: []byte(people.cohortID(cohort))}, all...)
	}
	return places
}

// run hands the records on until there are no more, or until ctx ends, and
// closes the lanes. A partition that is slow holds up the others, for the
// order of all records is that of the sequence; a rate that it falls behind
// is caught up with later.
func (p *pump) run(ctx context.Context) {
	defer func() {
		for _, l := range p.lanes {
			close(l.out)
		}
	}()
	began, changes := time.Now(), int64(0)
	for {
		r, ok := p.sequence.next()
		if !ok {
			break
		}
		if p.rate > 0 && !p.wait(ctx, began.Add(sinceStart(changes, p.rate))) {
			return
		}
		changes += int64(r.people.users)
		l := &p.lanes[p.places[r.people.cohort]]
		l.waiting = append(l.waiting, r)
		if len(l.waiting) == batchRecords && !l.flush(ctx) {
			return
		}
	}
	p.flush(ctx)
}

// wait waits until it is time. What was made before must not wait, too.
func (p *pump) wait(ctx context.Context, due time.Time) bool {
	early := time.Until(due)
	if early <= 0 {
		return true
	}
	if !p.flush(ctx) {
		return false
	}
	timer := time.NewTimer(max(early, tick))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (p *pump) flush(ctx context.Context) bool {
	for i := range p.lanes {
		if !p.lanes[i].flush(ctx) {
			return false
		}
	}
	return true
}

// flush hands on what waits. It says whether it could before ctx ended.
func (l *lane) flush(ctx context.Context) bool {
	if len(l.waiting) == 0 {
		return true
	}
	select {
	case <-ctx.Done():
		return false
	case l.out <- l.waiting:
		l.waiting = make([]record, 0, len(l.waiting)) // The next piece is about as large.
		return true
	}
}
