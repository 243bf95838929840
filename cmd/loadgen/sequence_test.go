package main

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"cohortsync/internal/event"
)

// noon is when the tests' runs start.
var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// plain is the shape that the flags' defaults make.
func plain(t require.TestingT, change func(*shape)) shape {
	s := shape{Seed: 1, Cohorts: 20, Users: 100_000, Zipf: 1, UsersPerRecord: 1, LateBy: time.Second, DeviceIDs: 1}
	change(&s)
	s, err := s.filled(noon, false)
	require.NoError(t, err)
	return s
}

// shapes draws shapes of all kinds.
func shapes(t *rapid.T) shape {
	return plain(t, func(s *shape) {
		s.Seed = rapid.Uint64().Draw(t, "seed")
		s.Cohorts = rapid.IntRange(1, 8).Draw(t, "cohorts")
		s.Users = rapid.Int64Range(int64(s.Cohorts), 60).Draw(t, "users")
		s.Zipf = rapid.Float64Range(0, 3).Draw(t, "zipf")
		s.Changes = rapid.Int64Range(int64(s.Cohorts), 400).Draw(t, "changes")
		s.Rate = rapid.SampledFrom([]int{0, 1, 1000, 3_000_000}).Draw(t, "rate")
		s.UsersPerRecord = rapid.IntRange(1, 10).Draw(t, "users per record")
		s.Singles = rapid.Float64Range(0, 1).Draw(t, "singles")
		s.DeviceIDs = rapid.IntRange(0, 2).Draw(t, "device ids")
		s.Properties = rapid.IntRange(0, 2).Draw(t, "properties")
		s.LateBy = time.Duration(rapid.IntRange(1, 100).Draw(t, "late by")) * time.Microsecond
		if s.Unique = rapid.Bool().Draw(t, "unique"); s.Unique {
			return
		}
		s.Churn = rapid.Float64Range(0, 0.5).Draw(t, "churn")
		s.Late = rapid.Float64Range(0, 0.5).Draw(t, "late")
		s.Duplicates = rapid.Float64Range(0, 1).Draw(t, "duplicates")
	})
}

// recordsOf returns every record of a shape.
func recordsOf(s shape) (*population, []record) {
	people := newPopulation(s)
	q := newSequence(s, people)
	var records []record
	for r, ok := q.next(); ok; r, ok = q.next() {
		records = append(records, r)
	}
	return people, records
}

// values returns the values of the records.
func values(s shape) []string {
	people, records := recordsOf(s)
	e := newEncoder(s, people)
	all := make([]string, len(records))
	for i, r := range records {
		all[i] = string(e.appendJSON(nil, r))
	}
	return all
}

func TestTheSameShapeMakesTheSameRecords(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := shapes(t)
		first := values(s)
		require.Equal(t, first, values(s))
	})
}

func TestAnotherSeedMakesOtherRecords(t *testing.T) {
	t.Parallel()
	for name, unique := range map[string]bool{"random": false, "unique": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := plain(t, func(s *shape) { s.Changes, s.Unique, s.Prefix = 1000, unique, "same" })
			first := values(s)
			s.Seed++
			require.NotEqual(t, first, values(s))
		})
	}
}

func TestExactlySoManyChangesAreMadeAsAskedFor(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := shapes(t)
		_, records := recordsOf(s)
		changes := int64(0)
		for _, r := range records {
			require.Positive(t, r.people.users)
			changes += int64(r.people.users)
		}
		require.Equal(t, s.Changes, changes)
	})
}

func TestOnlyADuplicateHasAnotherRecordsTime(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := shapes(t)
		_, records := recordsOf(s)
		at := map[int64]record{}
		newest := s.StartTime.UnixMicro()
		for i, r := range records {
			if earlier, duplicate := at[r.time]; duplicate {
				require.Equal(t, earlier, r)
				require.Positive(t, s.Duplicates)
				continue
			}
			at[r.time] = r
			require.Greater(t, r.time, s.StartTime.UnixMicro())
			if s.Late == 0 {
				require.Greater(t, r.time, newest, "record %d", i)
			}
			newest = max(newest, r.time)
		}
	})
}

func TestALateRecordComesAfterANewerOneThatSaysTheOpposite(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := shapes(t)
		_, records := recordsOf(s)
		newest := int64(0)
		seen := map[record]bool{}
		for _, r := range records {
			late := r.time < newest && !seen[r]
			newest = max(newest, r.time)
			seen[r] = true
			if !late {
				continue
			}
			found := false
			for earlier := range seen {
				found = found || earlier.people == r.people && earlier.in != r.in && earlier.time > r.time
			}
			require.True(t, found, "nothing newer came before %+v", r)
		}
	})
}

func TestNothingIsHeldBackLongerThanAllowed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := shapes(t)
		s.Rate = 0 // A draw takes one microsecond, or two when something is late.
		q := newSequence(s, newPopulation(s))
		for r, ok := q.next(); ok; r, ok = q.next() {
			require.LessOrEqual(t, q.clock-r.time, s.LateBy.Microseconds()+2)
		}
	})
}

func TestEveryUniqueChangeIsAboutAUserOfItsOwn(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := plain(t, func(s *shape) {
			s.Unique = true
			s.Seed = rapid.Uint64().Draw(t, "seed")
			s.Cohorts = rapid.IntRange(1, 50).Draw(t, "cohorts")
			s.Changes = rapid.Int64Range(50, 3000).Draw(t, "changes")
			s.UsersPerRecord = rapid.IntRange(1, 100).Draw(t, "users per record")
			s.Singles = rapid.Float64Range(0, 1).Draw(t, "singles")
		})
		d := event.NewDecoder([]event.Path{path(t, "user_id"), path(t, "device_id")})
		seen := map[string]bool{}
		for _, value := range values(s) {
			e, err := d.Decode([]byte(value), noon)
			require.NoError(t, err)
			require.True(t, e.InCohort)
			for _, u := range e.Users {
				for _, v := range u.Values {
					require.False(t, seen[string(v.Bytes)], "%s comes a second time", v.Bytes)
					seen[string(v.Bytes)] = true
				}
			}
		}
		require.Len(t, seen, 2*int(s.Changes))
	})
}

func TestUniqueCohortsAdvanceTogether(t *testing.T) {
	t.Parallel()
	s := plain(t, func(s *shape) { s.Unique, s.Changes = true, 100_000 })
	people, records := recordsOf(s)
	half := make([]int64, s.Cohorts)
	for _, r := range records[:len(records)/2] {
		half[r.people.cohort]++
	}
	for cohort, n := range half {
		require.InDelta(t, float64(people.size(cohort))/2, n, 10, "cohort %d", cohort)
	}
}

func TestSharesAreWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	const changes = 200_000
	for name, s := range map[string]shape{
		"churn":      {Churn: 0.3},
		"late":       {Late: 0.05, LateBy: 2 * time.Millisecond},
		"half late":  {Late: 0.5, LateBy: 2 * time.Millisecond},
		"duplicates": {Duplicates: 0.02},
		"singles":    {Singles: 0.9, UsersPerRecord: 50},
		"together":   {Churn: 0.2, Late: 0.1, Duplicates: 0.1, Singles: 0.5, UsersPerRecord: 3, LateBy: time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := plain(t, func(to *shape) {
				to.Churn, to.Late, to.Duplicates, to.Singles = s.Churn, s.Late, s.Duplicates, s.Singles
				to.UsersPerRecord, to.Changes = max(1, s.UsersPerRecord), changes
				if s.LateBy > 0 {
					to.LateBy = s.LateBy
				}
			})
			_, records := recordsOf(s)
			var late, duplicates, leaving, onTime, singles int
			newest, seen := int64(0), map[record]bool{}
			for _, r := range records {
				if seen[r] {
					duplicates++
					continue
				}
				seen[r] = true
				if r.people.users == 1 {
					singles++
				}
				if r.time < newest {
					late++
					continue
				}
				newest = r.time
				onTime++
				if !r.in {
					leaving++
				}
			}
			once := float64(len(seen))
			require.InEpsilon(t, 1+s.Late, 1+float64(late)/once, 0.01)
			require.InEpsilon(t, 1+s.Duplicates, 1+float64(duplicates)/once, 0.01)
			require.InEpsilon(t, 1+s.Churn, 1+float64(leaving)/float64(onTime), 0.01)
			if s.UsersPerRecord > 1 {
				require.InDelta(t, s.Singles, float64(singles)/once, 0.02)
			}
		})
	}
}

func TestOnlyThoseLeaveWhoHadEntered(t *testing.T) {
	t.Parallel()
	s := plain(t, func(s *shape) { s.Churn, s.Changes, s.Users = 0.5, 300_000, 20_000 })
	_, records := recordsOf(s)
	balance := map[stretch]int{}
	for _, r := range records {
		if r.in {
			balance[r.people]++
			continue
		}
		balance[r.people]--
		require.GreaterOrEqual(t, balance[r.people], 0)
	}
}

func TestTimesFollowTheRate(t *testing.T) {
	t.Parallel()
	s := plain(t, func(s *shape) { s.Rate, s.Changes, s.UsersPerRecord, s.Users = 250, 1001, 5, 1000 })
	_, records := recordsOf(s)
	require.Equal(t, noon.UnixMicro()+1, records[0].time)
	last := records[len(records)-1]
	require.InDelta(t, 4.0, time.UnixMicro(last.time).Sub(noon).Seconds(), 0.05)
	require.Equal(t, time.Hour+500*time.Millisecond, sinceStart(math.MaxInt32*3600+math.MaxInt32/2+1, math.MaxInt32).Round(time.Millisecond))
}

func TestAnEndlessRunGoesOn(t *testing.T) {
	t.Parallel()
	s, err := shape{Seed: 1, Cohorts: 2, Users: 10, UsersPerRecord: 1, LateBy: time.Second, Churn: 0.5, Late: 0.5, Duplicates: 1}.filled(noon, true)
	require.NoError(t, err)
	require.Zero(t, s.Changes)
	q := newSequence(s, newPopulation(s))
	for range 100_000 {
		_, ok := q.next()
		require.True(t, ok)
	}
	require.LessOrEqual(t, len(q.entered), mostEntered)
}

func path(t require.TestingT, text string) event.Path {
	p, err := event.ParsePath(text)
	require.NoError(t, err)
	return p
}
