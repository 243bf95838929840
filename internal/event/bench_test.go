package event

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// oneUser is a record of one user, as a real-time sync gets it.
const oneUser = `{"cohort_id":"7khm89cz","cohort_name":"High LTV","in_cohort":true,"computed_time":"1692206763","message_id":"9baaa88f-9d46-4ee5-a946-be0c6aea0046::enter::0","users":[{"user_id":"user_000001@example.com","device_id":"3f0c9a52-17"}]}`

// manyUsers returns a record of n users.
func manyUsers(n int) []byte {
	p := Payload{CohortID: "7khm89cz", CohortName: "High LTV", InCohort: true, ComputedTime: time.Unix(1692206763, 0), MessageID: "9baaa88f::enter::0"}
	for i := range n {
		p.Users = append(p.Users, Member{
			UserID:     fmt.Sprintf("user_%06d@example.com", i),
			DeviceIDs:  []string{fmt.Sprintf("3f0c9a52-17cd-4ee5-a946-%012d", i)},
			Properties: []Property{{"country", "US"}, {"crm_id", fmt.Sprintf("C-%d", i)}},
		})
	}
	return p.AppendJSON(nil)
}

// BenchmarkDecode decodes whole records.
func BenchmarkDecode(b *testing.B) {
	for _, users := range []int{1, 500} {
		b.Run(fmt.Sprintf("users=%d", users), func(b *testing.B) {
			d := NewDecoder(pathsOf(b, "user_id", "device_id", "user_properties.crm_id"))
			benchmarkRecord(b, users, func(value []byte) error {
				_, err := d.Decode(value, stamp)
				return err
			})
		})
	}
}

// BenchmarkEncodingJSON is the baseline: the same records into a struct that
// fits them.
func BenchmarkEncodingJSON(b *testing.B) {
	for _, users := range []int{1, 500} {
		b.Run(fmt.Sprintf("users=%d", users), func(b *testing.B) {
			benchmarkRecord(b, users, func(value []byte) error {
				var payload struct {
					CohortID     string `json:"cohort_id"`
					CohortName   string `json:"cohort_name"`
					InCohort     bool   `json:"in_cohort"`
					ComputedTime string `json:"computed_time"`
					MessageID    string `json:"message_id"`
					Users        []struct {
						UserID         string `json:"user_id"`
						DeviceID       string `json:"device_id"`
						UserProperties struct {
							CRMID string `json:"crm_id"`
						} `json:"user_properties"`
					} `json:"users"`
				}
				return json.Unmarshal(value, &payload)
			})
		})
	}
}

func benchmarkRecord(b *testing.B, users int, decode func(value []byte) error) {
	value := []byte(oneUser)
	if users > 1 {
		value = manyUsers(users)
	}
	b.SetBytes(int64(len(value)))
	b.ReportAllocs()
	for b.Loop() {
		if err := decode(value); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(users), "ns/user")
}
