package brazetest

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestWhatIsDueComesInTheOrderOfItsTime holds the calendar to a sorted list, over
// any order of additions and looks, with pauses longer than all of it.
func TestWhatIsDueComesInTheOrderOfItsTime(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		within := rapid.SampledFrom([]int64{1, 10, 5000, 1_000_000}).Draw(t, "within")
		l := newLater(time.Duration(within))
		var model []slot
		now := int64(1_000_000_000)
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				// The clock may have gone on since the calendar was looked at.
				s := slot{now + rapid.Int64Range(0, 3).Draw(t, "delay") + rapid.Int64Range(0, within-1).Draw(t, "later"), &due{place: place{user: new(user)}}}
				l.push(s, now)
				at := slices.IndexFunc(model, func(other slot) bool { return other.at > s.at })
				if at < 0 {
					at = len(model)
				}
				model = slices.Insert(model, at, s)
			},
			"wait": func(t *rapid.T) {
				now += rapid.OneOf(rapid.Int64Range(0, 20), rapid.Int64Range(0, 3*within)).Draw(t, "for")
			},
			"pop": func(t *rapid.T) {
				for range rapid.IntRange(1, 20).Draw(t, "times") {
					d := l.pop(now)
					if len(model) == 0 || model[0].at > now {
						if d != nil {
							t.Fatal("popped before its time")
						}
						return
					}
					popped := slices.IndexFunc(model, func(s slot) bool { return s.due == d })
					if popped < 0 || model[popped].at != model[0].at {
						t.Fatalf("%v is due first, not what was popped", model[0])
					}
					model = slices.Delete(model, popped, popped+1)
				}
			},
			"": func(t *rapid.T) {
				if l.length() != len(model) {
					t.Fatalf("%d are due, want %d", l.length(), len(model))
				}
			},
		})
	})
}
