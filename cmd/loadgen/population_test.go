package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestZipfSizesSumUp(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := plain(t, func(s *shape) {
			s.Cohorts = rapid.IntRange(1, 300).Draw(t, "cohorts")
			s.Users = rapid.Int64Range(int64(s.Cohorts), mostUsers).Draw(t, "users")
			s.Zipf = rapid.Float64Range(0, 10).Draw(t, "exponent")
		})
		p := newPopulation(s)
		sum := int64(0)
		for cohort := range s.Cohorts {
			size := p.size(cohort)
			require.Positive(t, size)
			if cohort > 0 {
				require.LessOrEqual(t, size, p.size(cohort-1)+1, "none is larger than the one before, but by rounding")
			}
			require.Equal(t, cohort, p.cohortOf(p.begin(cohort)))
			require.Equal(t, cohort, p.cohortOf(p.ends[cohort]-1))
			sum += size
		}
		require.Equal(t, s.Users, sum)
		require.Equal(t, s.Users, p.total())
	})
}

func TestTheKthCohortHasTheKthPartOfTheFirst(t *testing.T) {
	t.Parallel()
	p := newPopulation(plain(t, func(s *shape) { s.Users = 10_000_000 }))
	for k := range 20 {
		require.InEpsilon(t, float64(p.size(0))/float64(k+1), p.size(k), 0.001)
	}
	equal := newPopulation(plain(t, func(s *shape) { s.Zipf = 0 }))
	require.Equal(t, int64(5000), equal.size(0))
	require.Equal(t, int64(5000), equal.size(19))
}

func TestTheOrderOfIdsIsThatOfNumbers(t *testing.T) {
	t.Parallel()
	p := newPopulation(plain(t, func(*shape) {}))
	var ids []string
	for _, n := range []int64{0, 1, 9, 10, 99, 100, 12_345, 99_999_999, 100_000_000, mostUsers - 1} {
		id := string(p.appendUserID(nil, n))
		require.Len(t, id, len("load1-user-000000000"))
		require.Equal(t, n, number(t, strings.TrimPrefix(id, "load1-user-")))
		ids = append(ids, id)
	}
	require.True(t, slices.IsSorted(ids))
	require.Equal(t, "load1-000001", p.cohortID(0))
}

func TestUsersOfASmallCohortAreInTheLargerOnes(t *testing.T) {
	t.Parallel()
	p := newPopulation(plain(t, func(*shape) {}))
	require.Zero(t, p.user(19, p.begin(19)))
	require.Equal(t, p.size(19)-1, p.user(19, p.membership(19, p.size(19)-1)))
	require.Equal(t, p.begin(19), p.membership(19, p.size(19)), "behind the last comes the first")
	apart := newPopulation(plain(t, func(s *shape) { s.Unique = true }))
	require.Equal(t, apart.begin(19), apart.user(19, apart.begin(19)))
}

func number(t *testing.T, text string) int64 {
	t.Helper()
	n := int64(0)
	for _, c := range text {
		require.True(t, c >= '0' && c <= '9', text)
		n = n*10 + int64(c-'0')
	}
	return n
}
