package stream

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestFirstUnsettledMatchesAPlainList holds the tracker to a list that is
// searched from its beginning, over logs with gaps and any order of settling.
func TestFirstUnsettledMatchesAPlainList(t *testing.T) {
	t.Parallel()
	type record struct {
		mark   markID
		offset int64
		open   int
	}
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.Int64Range(0, 1000).Draw(t, "start")
		tr := tracker{next: start}
		next := start
		var records []*record
		first := func() int64 {
			for _, r := range records {
				if r.open > 0 {
					return r.offset
				}
			}
			return next
		}
		t.Repeat(map[string]func(*rapid.T){
			"track": func(t *rapid.T) {
				offset := next + rapid.Int64Range(0, 3).Draw(t, "gap")
				changes := rapid.IntRange(0, 3).Draw(t, "changes")
				m := tr.track(offset, offset*10)
				for range changes {
					tr.hold(m)
				}
				records = append(records, &record{m, offset, 1 + changes})
				next = offset + 1
			},
			"advance": func(t *rapid.T) {
				to := next + rapid.Int64Range(-3, 3).Draw(t, "by")
				tr.advance(to)
				next = max(next, to)
			},
			"settle": func(t *rapid.T) {
				open := slices.DeleteFunc(slices.Clone(records), func(r *record) bool { return r.open == 0 })
				if len(open) == 0 {
					t.Skip("nothing is open")
				}
				r := rapid.SampledFrom(open).Draw(t, "which")
				r.open--
				tr.settle(r.mark)
			},
			"": func(t *rapid.T) {
				if got := tr.unsettled(); got != first() {
					t.Fatalf("first unsettled %d, want %d", got, first())
				}
				unsettled := slices.IndexFunc(records, func(r *record) bool { return r.open > 0 })
				stamp, ok := tr.oldest()
				if ok != (unsettled >= 0) || ok && stamp != records[unsettled].offset*10 {
					t.Fatalf("oldest is %d, %v", stamp, ok)
				}
				if unsettled >= 0 && tr.length != len(records)-unsettled || unsettled < 0 && tr.length != 0 {
					t.Fatalf("%d marks are kept", tr.length)
				}
			},
		})
	})
}
