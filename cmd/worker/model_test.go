//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"cohortsync/internal/catalog"
	"cohortsync/internal/kafkatest"
)

const (
	modelCohorts = 6
	modelUsers   = 60
	// modelRefused is below 10, from where on a request of nobody else would
	// be taken for a wrong request.
	modelRefused = 3
	// writeEvery paces the log.
	writeEvery = 40 * time.Millisecond
)

// user is one person of the model: who they are to a target follows from the
// number.
type user int

func (u user) id() string {
	if u < modelRefused {
		return refused + strconv.Itoa(int(u))
	}
	return "user-" + strconv.Itoa(int(u))
}

// device is empty for half of them, those whom Braze refuses included.
func (u user) device() string {
	if u < modelRefused || u%2 == 0 {
		return ""
	}
	return "device-" + strconv.Itoa(int(u))
}

func sendAll(u user) []catalog.Identifier {
	ids := []catalog.Identifier{{Kind: catalog.ExternalID, Value: u.id()}}
	if d := u.device(); d != "" {
		ids = append(ids, catalog.Identifier{Kind: catalog.DeviceID, Value: d})
	}
	return ids
}

func sendFirst(u user) []catalog.Identifier {
	if d := u.device(); d != "" {
		return []catalog.Identifier{{Kind: catalog.DeviceID, Value: d}}
	}
	return sendAll(u)
}

// entry is one change as the log has it.
type entry struct {
	in        bool
	partition int32
	offset    int64
}

func (e entry) place() string { return fmt.Sprintf("%d/%d", e.partition, e.offset) }

func (e entry) String() string { return fmt.Sprintf("%s in=%t", e.place(), e.in) }

// model is what the log says. It belongs to the writer until write returns.
type model struct {
	rng     *rand.Rand
	born    time.Time
	records int
	newest  map[string]map[user]entry
	history map[string]map[user][]entry
}

func newModel(seed uint64) *model {
	m := &model{
		rng:    rand.New(rand.NewPCG(seed, 3)),
		born:   time.Now(),
		newest: make(map[string]map[user]entry), history: make(map[string]map[user][]entry),
	}
	for c := range modelCohorts {
		m.newest[cohortName(c)] = make(map[user]entry)
		m.history[cohortName(c)] = make(map[user][]entry)
	}
	return m
}

func cohortName(n int) string { return "cohort-" + strconv.Itoa(n) }

// write writes to the log until ctx ends. The computed times go up by a
// microsecond a record, so that the order of time is the order of the log.
func (m *model) write(ctx context.Context, producer *kgo.Client) error {
	ticker := time.NewTicker(writeEvery)
	defer ticker.Stop()
	partitions := int32(4)
	for ctx.Err() == nil {
		for range 1 + m.rng.IntN(12) {
			number := m.rng.IntN(modelCohorts)
			cohort := cohortName(number)
			users, in := m.some(), m.rng.IntN(2) == 0
			m.records++
			record := &kgo.Record{
				Partition: int32(number) % partitions,
				Key:       []byte(cohort), Value: payload(cohort, in, m.born.UnixMicro()+int64(m.records), users),
			}
			// Its own context: a record is in the log and in the model, or in
			// neither.
			done, err := producer.ProduceSync(context.WithoutCancel(ctx), record).First()
			if err != nil {
				return fmt.Errorf("writing to the log: %w", err)
			}
			e := entry{in: in, partition: done.Partition, offset: done.Offset}
			for _, u := range users {
				m.newest[cohort][u] = e
				m.history[cohort][u] = append(m.history[cohort][u], e)
			}
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
	return nil
}

// some returns one user, or now and then many.
func (m *model) some() []user {
	if m.rng.IntN(5) > 0 {
		return []user{user(m.rng.IntN(modelUsers))}
	}
	users := make([]user, 2+m.rng.IntN(modelUsers/2))
	for i, n := range m.rng.Perm(modelUsers)[:len(users)] {
		users[i] = user(n)
	}
	return users
}

// payload is one record's value.
func payload(cohort string, in bool, micros int64, users []user) []byte {
	type person struct {
		UserID   string `json:"user_id"`
		DeviceID string `json:"device_id,omitempty"`
	}
	people := make([]person, len(users))
	for i, u := range users {
		people[i] = person{UserID: u.id(), DeviceID: u.device()}
	}
	text, err := json.Marshal(map[string]any{
		"cohort_id": cohort, "cohort_name": "Cohort " + cohort, "in_cohort": in,
		"computed_time": fmt.Sprintf("%d.%06d", micros/1e6, micros%1e6), "users": people,
	})
	if err != nil {
		panic(err) // Such a map always encodes.
	}
	return text
}

// letters are the dead letters of one target.
type letters struct {
	// places says for which records of the log an identifier has letters.
	places map[catalog.Identifier]map[string]bool
	// others are letters that should not be.
	others []string
}

// readLetters reads the whole dead-letter topic.
func readLetters(t *testing.T, cluster kafkatest.Broker) map[string]letters {
	t.Helper()
	all := map[string]letters{}
	for _, target := range []string{"US", "EU"} {
		all[target] = letters{places: make(map[catalog.Identifier]map[string]bool)}
	}
	left := int64(0)
	for _, end := range cluster.Admin().Ends(t, deadLetters) {
		left += end
	}
	require.Positive(t, left, "nobody was refused")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	reader := client(t, cluster, kgo.ConsumeTopics(cluster.Name(deadLetters)), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for left > 0 {
		fetched := reader.PollFetches(ctx)
		require.NoError(t, fetched.Err0())
		fetched.EachRecord(func(r *kgo.Record) {
			left--
			says := make(map[string]string)
			for _, h := range r.Headers {
				says[h.Key] = string(h.Value)
			}
			const ours = "__cohortsync.errors."
			of := all[says[ours+"target"]]
			var ids []struct{ Kind, Value string }
			require.NoError(t, json.Unmarshal([]byte(says[ours+"identifiers"]), &ids))
			for _, id := range ids {
				who := catalog.Identifier{Kind: catalog.ExternalID, Value: id.Value}
				if id.Kind != "external_id" || !strings.HasPrefix(id.Value, refused) {
					of.others = append(of.others, id.Kind+" "+id.Value+": "+says[ours+"message"])
				}
				if of.places[who] == nil {
					of.places[who] = make(map[string]bool)
				}
				of.places[who][says[ours+"partition"]+"/"+says[ours+"offset"]] = true
			}
			all[says[ours+"target"]] = of
		})
	}
	return all
}
