package braze

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"cohortsync/internal/catalog"
)

// kinds are the ways to write an identifier: a bare string, and an object.
func kinds() []catalog.Identifier {
	return []catalog.Identifier{{Kind: catalog.ExternalID}, {Kind: catalog.UserAlias, Label: "crm"}}
}

// itemsOf are n changes, every third of someone who leaves.
func itemsOf(n int, like catalog.Identifier) []Item {
	items := make([]Item, n)
	for i := range items {
		like.Value = fmt.Sprintf("user_%06d@example.com", i)
		items[i] = Item{Identifier: like, Remove: i%3 == 1}
	}
	return items
}

// BenchmarkMembersBody writes the body of a full batch of the cohorts API.
func BenchmarkMembersBody(b *testing.B) {
	keys := &credentials{partner: partnerKey, api: dataKey}
	for _, like := range kinds() {
		b.Run("kind="+like.Kind.String(), func(b *testing.B) {
			items := itemsOf(catalog.Cohorts.MaxBatch(), like)
			benchmarkBody(b, len(items), func() []byte { return membersBody(keys, "7khm89cz", items) })
		})
	}
}

// BenchmarkTrackBody writes the body of a full batch of the attributes API.
func BenchmarkTrackBody(b *testing.B) {
	for _, like := range kinds() {
		b.Run("kind="+like.Kind.String(), func(b *testing.B) {
			items := itemsOf(catalog.Attributes.MaxBatch(), like)
			benchmarkBody(b, len(items), func() []byte { return trackBody("cohort_7khm89cz", items) })
		})
	}
}

func benchmarkBody(b *testing.B, n int, body func() []byte) {
	b.SetBytes(int64(len(body())))
	b.ReportAllocs()
	for b.Loop() {
		body()
	}
	perIdentifier(b, n)
}

// BenchmarkJudgeTrack reads Braze's answer to a full batch of the attributes
// API.
func BenchmarkJudgeTrack(b *testing.B) {
	n := catalog.Attributes.MaxBatch()
	keys := &credentials{api: dataKey}
	for _, faults := range []int{0, 1, n - 1} {
		b.Run(fmt.Sprintf("faults=%d", faults), func(b *testing.B) {
			a := &answer{status: http.StatusCreated, body: []byte(`{"message":"success","attributes_processed":75}`)}
			if faults > 0 {
				at := make([]int, faults)
				for i := range at {
					at[i] = i
				}
				a.body = []byte(itemErrors("success", blacklisted, at...))
			}
			if err := judgeTrack(a, keys, n); faults == 0 {
				require.NoError(b, err)
			} else {
				var p *partial
				require.ErrorAs(b, err, &p)
				require.Len(b, p.faults, faults)
			}
			b.SetBytes(int64(len(a.body)))
			b.ReportAllocs()
			for b.Loop() {
				_ = judgeTrack(a, keys, n)
			}
			perIdentifier(b, n)
		})
	}
}

func perIdentifier(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/identifier")
}
