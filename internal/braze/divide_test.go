package braze

import (
	"errors"
	"math/bits"
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"cohortsync/internal/braze/brazetest"
	"cohortsync/internal/catalog"
)

func drawBad(t *rapid.T, n int) map[string]bool {
	bad := make(map[string]bool)
	for _, i := range rapid.SliceOfN(rapid.IntRange(0, n-1), 0, 12).Draw(t, "bad") {
		bad[user(i).Value] = true
	}
	return bad
}

func TestBisectionFindsExactlyThoseAtFault(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.OneOf(rapid.IntRange(1, 20), rapid.IntRange(1, 1000)).Draw(t, "n")
		bad := drawBad(t, n)
		server := newBraze(brazetest.Options{Bad: func(id catalog.Identifier) bool { return bad[id.Value] }})
		client := newTestCohorts(server.Transport())
		require.NoError(t, client.Name(t.Context(), naming(), always))
		report := client.Deliver(t.Context(), batchOf(n), always)
		requests := len(server.History()) - 1

		k := len(bad)
		require.LessOrEqual(t, requests, 1+2*k*bits.Len(uint(n-1))+1)
		if k == n && n >= crowd {
			class, _ := ClassOf(report.Err)
			require.Equal(t, Invalid, class)
			require.Empty(t, report.Faults)
			return
		}
		require.NoError(t, report.Err)
		require.Len(t, report.Faults, k)
		for i, outcome := range report.Outcomes {
			want := Delivered
			if bad[user(i).Value] {
				want = AtFault
				require.Equal(t, http.StatusBadRequest, report.Faults[i].Status)
			}
			require.Equal(t, want, outcome, "item %d", i)
			applied := server.Operations("c1", user(i))
			require.Len(t, applied, map[Outcome]int{Delivered: 1}[want])
		}
		require.Empty(t, server.Violations())
	})
}

func TestFailuresInTheMiddleNeverBlameOrPassTheWrongItem(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 60).Draw(t, "n")
		bad := drawBad(t, n)
		server := newBraze(brazetest.Options{
			Seed: rapid.Uint64().Draw(t, "seed"), MaxBody: rapid.SampledFrom([]int{0, 400, 600}).Draw(t, "max body"),
			Bad: func(id catalog.Identifier) bool { return bad[id.Value] },
		})
		client := newTestCohorts(server.Transport())
		require.NoError(t, client.Name(t.Context(), naming(), always))
		server.SetFaults(brazetest.Faults{ServerError: .1, Limited: .05, Locked: .05, Reset: .1, AppliedThenError: .1, HTML: .05})
		stop := rapid.IntRange(0, 30).Draw(t, "admitted")
		report := client.Deliver(t.Context(), batchOf(n), admitOnly(stop))

		retry := false
		for i, outcome := range report.Outcomes {
			retry = retry || outcome == Retry
			switch outcome {
			case AtFault:
				require.True(t, bad[user(i).Value], "item %d is blamed", i)
				require.Contains(t, report.Faults, i)
			case Delivered:
				require.False(t, bad[user(i).Value], "item %d passes", i)
				require.NotEmpty(t, server.Operations("c1", user(i)))
			default:
			}
		}
		require.Equal(t, retry, report.Err != nil, "an error exactly when something is to be sent again")
		require.LessOrEqual(t, len(server.History())-1, stop)
	})
}

func TestABadRequestAboutEverybodyBlamesNobody(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 9, 1000} {
		server := newBraze(brazetest.Options{})
		client := newTestCohorts(server.Transport())
		require.NoError(t, client.Name(t.Context(), naming(), always))
		server.Script(func(brazetest.Request) brazetest.Fault {
			return brazetest.Answer(http.StatusBadRequest, `{"message":"something about everybody"}`)
		})
		report := client.Deliver(t.Context(), batchOf(n), always)
		class, _ := ClassOf(report.Err)
		require.Equal(t, Invalid, class)
		require.Empty(t, report.Faults)
		require.NotContains(t, report.Outcomes, AtFault)
		require.Equal(t, 1+bits.Len(uint(n-1))+1, len(server.History())-1, "found on the way to the first leaf, and one check")
	}
}

func TestEveryIdentifierOfACrowdFailingIsTheRequestsFault(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]Class{9: 0, 10: Invalid} {
		server := newBraze(brazetest.Options{Bad: func(catalog.Identifier) bool { return true }})
		client := newTestCohorts(server.Transport())
		require.NoError(t, client.Name(t.Context(), naming(), always))
		report := client.Deliver(t.Context(), batchOf(n), always)
		class, _ := ClassOf(report.Err)
		require.Equal(t, want, class)
		require.Equal(t, n < crowd, len(report.Faults) == n)
	}
}

func TestOneItemThatIsTooLargeHoldsBackNobodyElse(t *testing.T) {
	t.Parallel()
	report := divide(4, func(from, to int) error {
		if from <= 2 && 2 < to {
			return &rejected{fault: Fault{Status: http.StatusRequestEntityTooLarge}, tooLarge: true}
		}
		return nil
	})
	require.Equal(t, []Outcome{Delivered, Delivered, Retry, Delivered}, report.Outcomes)
	class, _ := ClassOf(report.Err)
	require.Equal(t, Unexpected, class)
}

func TestASearchThatIsCutShortBlamesNobodyWhileAllMayBeFailing(t *testing.T) {
	t.Parallel()
	down, tries := errors.New("down"), 0
	report := divide(100, func(from, to int) error {
		if tries++; tries > 30 {
			return down
		}
		if from == to {
			return nil
		}
		return &rejected{fault: Fault{Status: http.StatusBadRequest}}
	})
	require.ErrorIs(t, report.Err, down)
	require.NotContains(t, report.Outcomes, AtFault)
	require.Empty(t, report.Faults)
}

// The request without items costs one more: it is sent once at most, and only
// when nothing has passed before the first item fails by itself.
func TestTheRequestIsCheckedOnceAtMost(t *testing.T) {
	t.Parallel()
	bad := &rejected{fault: Fault{Status: http.StatusBadRequest}}
	alone := func(at ...int) func(from, to int) error {
		return func(from, to int) error {
			if slices.ContainsFunc(at, func(i int) bool { return from <= i && i < to }) {
				return bad
			}
			return nil
		}
	}
	for name, c := range map[string]struct {
		try    func(from, to int) error
		checks int
	}{
		"the first ones fail":            {alone(0, 1, 2), 1},
		"the last one fails":             {alone(7), 0},
		"another one of the half passed": {alone(1), 0},
		"others passed in part": {func(from, to int) error {
			switch {
			case from == 0 && to == 4:
				return &partial{faults: map[int]Fault{0: bad.fault}, passed: true}
			case from == 5:
				return nil
			}
			return bad
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checks := 0
			report := divide(8, func(from, to int) error {
				if from == to {
					checks++
					return nil
				}
				return c.try(from, to)
			})
			require.NoError(t, report.Err)
			require.NotEmpty(t, report.Faults)
			require.Equal(t, c.checks, checks)
		})
	}
}
