//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	cohorts    = 8
	partitions = 6
	people     = 48
	// poison begins every identifier that Braze refuses, and poisoned is how
	// many people have one: fewer than the ten of whom a request of nobody else
	// would be taken for a wrong request.
	poison   = "bad-"
	poisoned = 3
	// writeEvery paces the load.
	writeEvery = 50 * time.Millisecond
	// latest is how much older than the newest a late change may be.
	latest = 8 * time.Second
)

func cohortName(n int) string { return "cohort-" + strconv.Itoa(n) }

// person is who an event is about.
type person struct {
	UserID     string            `json:"user_id"`
	DeviceID   string            `json:"device_id,omitempty"`
	Properties map[string]string `json:"user_properties,omitempty"`
}

func personOf(n int) person {
	if n < poisoned {
		return person{UserID: poison + strconv.Itoa(n)}
	}
	p := person{UserID: "user-" + strconv.Itoa(n)}
	if n%2 == 1 {
		p.DeviceID = "device-" + strconv.Itoa(n)
	}
	if n%3 == 0 {
		p.Properties = map[string]string{"crm_id": "C-" + strconv.Itoa(n)}
	}
	return p
}

// load writes membership changes: of one person or of many, mostly the contrary
// of the one before so that a wrong order shows, some late, some twice, and now
// and then a record that cannot be decoded or has no value.
type load struct {
	rng    *rand.Rand
	client *kgo.Client
	topic  string
	in     [cohorts][people]bool
	// What was written; read while it is.
	records, late, odd, poison atomic.Int64
}

// write writes until ctx ends. A record that was begun is written, however
// long Kafka takes.
func (l *load) write(ctx context.Context) error {
	ticker := time.NewTicker(writeEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		records := make([]*kgo.Record, 1+l.rng.IntN(5))
		for i := range records {
			records[i] = l.record(l.rng.IntN(cohorts))
		}
		if err := l.client.ProduceSync(context.WithoutCancel(ctx), records...).FirstErr(); err != nil {
			return fmt.Errorf("writing to the log: %w", err)
		}
		l.records.Add(int64(len(records)))
	}
}

func (l *load) record(cohort int) *kgo.Record {
	r := &kgo.Record{Topic: l.topic, Partition: int32(cohort % partitions), Key: []byte(cohortName(cohort))}
	switch roll := l.rng.IntN(400); roll {
	case 0:
		r.Value = []byte(`{"cohort_id":"` + cohortName(cohort) + `","users":[{"user_id"`)
		l.odd.Add(1)
	case 1:
		l.odd.Add(1) // A tombstone.
	default:
		r.Value = l.value(cohort, roll < 12)
	}
	return r
}

func (l *load) value(cohort int, late bool) []byte {
	computed := time.Now()
	if late {
		l.late.Add(1)
		computed = computed.Add(-time.Duration(l.rng.Int64N(int64(latest))))
	}
	first := l.rng.IntN(people)
	in := !l.in[cohort][first]
	if l.rng.IntN(7) == 0 {
		in = !in
	}
	chosen := []int{first}
	if l.rng.IntN(6) == 0 {
		chosen = l.rng.Perm(people)[:2+l.rng.IntN(people-2)]
	}
	users := make([]person, 0, len(chosen))
	for _, n := range chosen {
		if n < poisoned {
			// Or hardly a batch would go without a search for it.
			if len(chosen) > poisoned && l.rng.IntN(10) > 0 {
				continue
			}
			l.poison.Add(1)
		}
		users = append(users, personOf(n))
		if !late {
			l.in[cohort][n] = in
		}
	}
	micros := computed.UnixMicro()
	text, err := json.Marshal(map[string]any{
		"cohort_id": cohortName(cohort), "cohort_name": "Cohort " + strconv.Itoa(cohort), "in_cohort": in,
		"computed_time": fmt.Sprintf("%d.%06d", micros/1e6, micros%1e6), "users": users,
	})
	if err != nil {
		panic(err) // Such a map always encodes.
	}
	return text
}
