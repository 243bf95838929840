package event

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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

func BenchmarkDecode1User(b *testing.B)    { benchmarkDecode(b, []byte(oneUser)) }
func BenchmarkDecode500Users(b *testing.B) { benchmarkDecode(b, manyUsers(500)) }

func benchmarkDecode(b *testing.B, value []byte) {
	d := NewDecoder(pathsOf(b, "user_id", "device_id", "user_properties.crm_id"))
	b.SetBytes(int64(len(value)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Decode(value, stamp); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEncodingJSON is the baseline: the same records into a struct that
// fits them.
func BenchmarkEncodingJSON(b *testing.B) {
	for _, users := range []int{1, 500} {
		b.Run(fmt.Sprintf("%dUsers", users), func(b *testing.B) {
			value := manyUsers(users)
			b.SetBytes(int64(len(value)))
			b.ReportAllocs()
			for b.Loop() {
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
				require.NoError(b, json.Unmarshal(value, &payload))
			}
		})
	}
}
