package mapping

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"cohortsync/internal/catalog"
	"cohortsync/internal/event"
)

// BenchmarkMap maps one user who has a value for every rule.
func BenchmarkMap(b *testing.B) {
	for _, rules := range [][]catalog.Rule{{byUser}, {byUser, byDevice, byCRM}} {
		b.Run(fmt.Sprintf("rules=%d", len(rules)), func(b *testing.B) {
			m := newMapper(b, catalog.SendAll, rules...)
			ev, err := event.NewDecoder(m.Paths()).Decode(record(1), stamp)
			require.NoError(b, err)
			keys := m.Map(&ev.Users[0], nil)
			require.Len(b, keys, len(rules))
			b.ReportAllocs()
			for b.Loop() {
				keys = m.Map(&ev.Users[0], keys[:0])
			}
		})
	}
}

// BenchmarkDecodeAndMap is the way of a record through both, with three rules.
func BenchmarkDecodeAndMap(b *testing.B) {
	for _, users := range []int{1, 500} {
		b.Run(fmt.Sprintf("users=%d", users), func(b *testing.B) {
			m := newMapper(b, catalog.SendAll, byUser, byDevice, byCRM)
			d := event.NewDecoder(m.Paths())
			value := record(users)
			var keys []Key
			b.SetBytes(int64(len(value)))
			b.ReportAllocs()
			for b.Loop() {
				ev, err := d.Decode(value, stamp)
				if err != nil {
					b.Fatal(err)
				}
				for i := range ev.Users {
					keys = m.Map(&ev.Users[i], keys[:0])
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(users), "ns/user")
		})
	}
}
