package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/segmentio/kafka-go"

	"cohortsync/internal/event"
)

// demoCohort is a cohort of the demo and how it behaves.
type demoCohort struct {
	id, name string
	// users is how many different users it is about.
	users int
	// weight is its part of the traffic.
	weight int
	// burst is how many users a recomputation moves at once.
	burst int
}

func demoCohorts() []demoCohort {
	return []demoCohort{
		{"7khm89cz", "High LTV", 20_000, 4, 800},
		{"a1cart24", "Cart abandoners, 24 h", 5_000, 6, 300},
		{"t9trial3", "Trial ends in 3 days", 2_000, 2, 200},
		{"d30dorm1", "Dormant for 30 days", 50_000, 3, 1_000},
		{"n5letter", "Reads the newsletter", 10_000, 2, 400},
		{"v1vip000", "VIP", 40, 1, 10},
	}
}

// traffic writes changes as a product with real users would: single users who
// enter and leave, whole batches when a cohort is recomputed, people who change
// their mind within a second, and a webhook's retry now and then.
type traffic struct {
	writer  *kafka.Writer
	rng     *rand.Rand
	cohorts []demoCohort
	rate    int
	// bad is the part of users whom Braze will refuse.
	bad float64
}

// demoUser names a user, and says by its id whether Braze refuses it.
func (t *traffic) user(c demoCohort) event.Member {
	n := t.rng.IntN(c.users)
	id := fmt.Sprintf("user-%06d", n)
	if t.rng.Float64() < t.bad {
		id = fmt.Sprintf("%s%06d", badPrefix, n)
	}
	return event.Member{UserID: id, DeviceIDs: []string{fmt.Sprintf("device-%06d", n)}}
}

// badPrefix begins the ids that the demo's Braze refuses.
const badPrefix = "refused-"

// run writes about rate changes a second until ctx ends.
func (t *traffic) run(ctx context.Context) error {
	const tick = 100 * time.Millisecond
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	perTick := float64(t.rate) * tick.Seconds()
	for owed := 0.0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		// A recomputed cohort takes more than this tick's part; the next ones
		// make up for it.
		owed += perTick
		var messages []kafka.Message
		for owed >= 1 {
			m, users := t.message()
			messages = append(messages, m)
			owed -= float64(users)
		}
		if len(messages) == 0 {
			continue
		}
		if err := t.writer.WriteMessages(ctx, messages...); err != nil && ctx.Err() == nil {
			return fmt.Errorf("writing the demo's traffic: %w", err)
		}
	}
}

func (t *traffic) message() (m kafka.Message, users int) {
	c := t.pick()
	users = 1
	if t.rng.IntN(400) == 0 {
		users = 1 + t.rng.IntN(c.burst)
	}
	p := event.Payload{
		CohortID: c.id, CohortName: c.name, InCohort: t.rng.IntN(3) > 0, ComputedTime: time.Now(),
		MessageID: fmt.Sprintf("%08x::demo", t.rng.Uint32()),
	}
	if t.rng.IntN(100) == 0 {
		p.ComputedTime = p.ComputedTime.Add(-time.Second)
	}
	for range users {
		p.Users = append(p.Users, t.user(c))
	}
	return kafka.Message{Key: []byte(c.id), Value: p.AppendJSON(nil)}, users
}

func (t *traffic) pick() demoCohort {
	sum := 0
	for _, c := range t.cohorts {
		sum += c.weight
	}
	at := t.rng.IntN(sum)
	for _, c := range t.cohorts {
		if at -= c.weight; at < 0 {
			return c
		}
	}
	return t.cohorts[0]
}

// byKey puts all records of a cohort into one partition.
func byKey(m kafka.Message, partitions ...int) int {
	h := fnv.New32a()
	_, _ = h.Write(m.Key) // A hash never fails.
	return partitions[int(h.Sum32()%uint32(len(partitions)))]
}
