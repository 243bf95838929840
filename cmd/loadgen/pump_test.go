package main

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// drain takes all that a pump hands on, and when it came.
func drain(p *pump) (records [][]record, times func() []time.Time, wait func()) {
	records = make([][]record, len(p.lanes))
	var mu sync.Mutex
	var at []time.Time
	var group sync.WaitGroup
	for i := range p.lanes {
		group.Go(func() {
			for piece := range p.lanes[i].out {
				records[i] = append(records[i], piece...)
				mu.Lock()
				for range piece {
					at = append(at, time.Now())
				}
				mu.Unlock()
			}
		})
	}
	return records, func() []time.Time { return at }, group.Wait
}

func pumpOf(t *testing.T, partitions int, change func(*shape)) *pump {
	t.Helper()
	s := plain(t, change)
	ids := make([]int, partitions)
	for i := range ids {
		ids[i] = i
	}
	return newPump(newSequence(s, newPopulation(s)), ids)
}

func TestARateIsKept(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ rate, usersPerRecord int }{
		"slow":               {rate: 10, usersPerRecord: 1},
		"fast":               {rate: 20_000, usersPerRecord: 1},
		"many users at once": {rate: 2000, usersPerRecord: 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := pumpOf(t, 3, func(s *shape) {
					s.Rate, s.UsersPerRecord, s.Changes, s.Zipf = tt.rate, tt.usersPerRecord, int64(tt.rate)*2, 0
				})
				began := time.Now()
				_, times, wait := drain(p)
				p.run(t.Context())
				wait()
				require.Len(t, times(), 2*tt.rate/tt.usersPerRecord)
				for i, at := range times() {
					due := sinceStart(int64(i*tt.usersPerRecord), tt.rate)
					require.GreaterOrEqual(t, at.Sub(began), due-tick, "record %d", i)
					require.LessOrEqual(t, at.Sub(began), due+2*tick, "record %d", i)
				}
			})
		})
	}
}

func TestARateThatWasMissedIsCaughtUpWith(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := pumpOf(t, 1, func(s *shape) { s.Rate, s.Changes = 10_000, 50_000 })
		began := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.run(t.Context())
		}()
		time.Sleep(3 * time.Second) // Kafka takes nothing for so long.
		_, times, wait := drain(p)
		<-done
		wait()
		require.Len(t, times(), 50_000)
		require.InDelta(t, 5, time.Since(began).Seconds(), 0.1)
	})
}

func TestAPumpStopsWhenItIsTold(t *testing.T) {
	t.Parallel()
	for name, rate := range map[string]int{"at full speed": 0, "at a rate": 100} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := pumpOf(t, 2, func(s *shape) { s.Rate, s.Changes = rate, 1<<40 })
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() {
					defer close(done)
					p.run(ctx) // Nobody takes what it makes.
				}()
				synctest.Wait()
				cancel()
				<-done
				for _, l := range p.lanes {
					for piece := range l.out { // It is closed: this ends.
						require.NotEmpty(t, piece)
					}
				}
			})
		})
	}
}

func TestEveryPieceIsOneRequestAtMost(t *testing.T) {
	t.Parallel()
	p := pumpOf(t, 1, func(s *shape) { s.Changes = 2500 })
	p.run(t.Context())
	var sizes []int
	for piece := range p.lanes[0].out {
		sizes = append(sizes, len(piece))
	}
	require.Equal(t, []int{batchRecords, batchRecords, 500}, sizes)
}

// franz-go's partitioner is the Java client's.
func TestACohortGoesWhereKafkasOwnProducersPutIt(t *testing.T) {
	t.Parallel()
	people := newPopulation(plain(t, func(s *shape) { s.Cohorts, s.Users = 500, 1000 }))
	partitions := make([]int, 12)
	theirs := kgo.StickyKeyPartitioner(nil).ForTopic("changes")
	used := map[int]bool{}
	for cohort, place := range placesOf(people, partitions) {
		require.Equal(t, theirs.Partition(&kgo.Record{Key: []byte(people.cohortID(cohort))}, len(partitions)), place)
		used[place] = true
	}
	require.Len(t, used, len(partitions))
}
