package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"cohortsync/internal/event"
)

func TestTheRecordOfOneUser(t *testing.T) {
	t.Parallel()
	s := plain(t, func(s *shape) { s.DeviceIDs, s.Properties = 2, 1 })
	p := newPopulation(s)
	r := record{time: noon.UnixMicro() + 25, people: stretch{first: 41, cohort: 6, users: 1}}
	require.Equal(t,
		`{"cohort_id":"load1-000007","cohort_name":"Cohort 7 of load1","in_cohort":false,"computed_time":"1795521600.000025",`+
			`"message_id":"6610473279019::exit::0","users":[{"user_id":"load1-user-000000041",`+
			`"device_id":["load1-device-000000041","load1-device-000000041-2"],"user_properties":{"property_1":"000000041-property-1"}}]}`,
		string(newEncoder(s, p).appendJSON(nil, r)))
}

func TestARecordOfOneUserHasAbout230Bytes(t *testing.T) {
	t.Parallel()
	for _, value := range values(plain(t, func(s *shape) { s.Changes, s.Churn = 1000, 0.3 })) {
		require.InDelta(t, 230, len(value), 10, value)
	}
}

func TestWhatIsWrittenIsWhatTheWorkerReads(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := shapes(t)
		people, records := recordsOf(s)
		e := newEncoder(s, people)
		d := event.NewDecoder([]event.Path{path(t, "user_id"), path(t, "device_id"), path(t, "user_properties.property_2")})
		for _, r := range records {
			value := e.appendJSON(nil, r)
			require.True(t, json.Valid(value))
			got, err := d.Decode(value, noon.Add(time.Hour))
			require.NoError(t, err)
			require.Equal(t, event.TimeOK, got.TimeIssue)
			require.Equal(t, r.time, got.Time)
			require.Equal(t, r.in, got.InCohort)
			require.Equal(t, people.cohortID(int(r.people.cohort)), string(got.CohortID))
			require.Len(t, got.Users, int(r.people.users))
			distinct := map[string]bool{}
			for _, u := range got.Users {
				require.Len(t, u.Values, 1+s.DeviceIDs+s.Properties/2)
				require.True(t, strings.HasPrefix(string(u.Values[0].Bytes), s.Prefix+"-user-"))
				distinct[string(u.Values[0].Bytes)] = true
			}
			require.Len(t, distinct, int(r.people.users), "no user is twice in a record")
		}
	})
}

// BenchmarkRecord makes records and writes them out, without Kafka.
func BenchmarkRecord(b *testing.B) {
	for name, change := range map[string]func(*shape){
		"1User":        func(s *shape) {},
		"1UserUnique":  func(s *shape) { s.Unique, s.Changes = true, 1<<24 },
		"1UserChurned": func(s *shape) { s.Churn, s.Late, s.Duplicates, s.LateBy = 0.3, 0.02, 0.01, time.Millisecond },
		"500Users":     func(s *shape) { s.UsersPerRecord = 500 },
	} {
		b.Run(name, func(b *testing.B) {
			s := plain(b, func(s *shape) { s.Changes = 1 << 40; change(s) })
			people := newPopulation(s)
			q, e := newSequence(s, people), newEncoder(s, people)
			buffer := make([]byte, 0, 1<<16)
			changes, size := 0, 0
			b.ReportAllocs()
			for b.Loop() {
				r, ok := q.next()
				if !ok {
					q = newSequence(s, people)
					continue
				}
				buffer = e.appendJSON(buffer[:0], r)
				changes += int(r.people.users)
				size += len(buffer)
			}
			b.ReportMetric(float64(changes)/b.Elapsed().Seconds(), "changes/s")
			b.ReportMetric(float64(size)/float64(b.N), "B/record")
		})
	}
}
