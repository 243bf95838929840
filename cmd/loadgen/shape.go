package main

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"time"
)

// shape says what the changes look like. Two runs of the same shape make the
// same records in the same order. Its fields are flags.
type shape struct {
	Changes int64 `placeholder:"N" group:"How much:" help:"Write this many changes, late ones and duplicates included (default: 100000, or no end with --duration)."`
	Rate    int   `default:"0" group:"How much:" help:"Changes a second; 0 is as fast as possible."`

	Seed    uint64  `default:"1" group:"What:" help:"Seed of all that is random: the same flags and seed make the same records."`
	Prefix  string  `placeholder:"TEXT" group:"What:" help:"Begins the ids of cohorts and users, so that runs in one topic do not meet (default: load<seed>)."`
	Cohorts int     `default:"20" group:"What:" help:"How many cohorts."`
	Users   int64   `default:"100000" group:"What:" help:"Memberships that the cohorts share: how many users all of them are about, added up."`
	Zipf    float64 `default:"1" group:"What:" help:"Exponent of Zipf's law: the k-th cohort is about users/k^zipf users; 0 makes all equal."`
	Unique  bool    `group:"What:" help:"Every change is about a user of its own, who enters one cohort once. --users is then --changes."`

	UsersPerRecord int           `default:"1" group:"What:" help:"Users in a record: 1, as a real-time sync gets them, or many, as a recomputed cohort does."`
	Singles        float64       `default:"0" group:"What:" help:"Share of the records that have one user all the same, to mix single and many."`
	Churn          float64       `default:"0" group:"What:" help:"Share of the changes in which users leave who had entered, 0 to 0.5."`
	Late           float64       `default:"0" group:"What:" help:"Share of the records that come after a newer change of the same users, 0 to 0.5."`
	Duplicates     float64       `default:"0" group:"What:" help:"Share of the records that are sent a second time, 0 to 1."`
	LateBy         time.Duration `default:"1s" group:"What:" help:"How much later than its computed_time a late record or a duplicate comes, at most. At --rate 0 records are 1µs apart: 1s is then a million of them."`

	DeviceIDs  int `name:"device-ids" default:"1" group:"What:" help:"Device ids of each user. With one, a record of one user has about 230 bytes."`
	Properties int `default:"0" group:"What:" help:"Properties of each user: property_1, property_2 and so on."`

	StartTime time.Time `placeholder:"TIME" group:"What:" help:"The first computed_time, RFC 3339 (default: now)."`
}

// What a run may ask for. Nine digits number the users, so that the order of
// their ids is that of their numbers.
const (
	mostUsers   = 1_000_000_000
	mostCohorts = 100_000
	// defaultChanges are written when nobody says how long to go on.
	defaultChanges = 100_000
)

// plainText is what ids may begin with: nothing that JSON or a URL escapes.
var plainText = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// filled returns the shape with the defaults that depend on other flags. Its
// error names all that is wrong.
func (s shape) filled(now time.Time, endless bool) (shape, error) {
	if s.Prefix == "" {
		s.Prefix = fmt.Sprintf("load%d", s.Seed)
	}
	if s.StartTime.IsZero() {
		s.StartTime = now
	}
	if s.Changes == 0 && !endless {
		s.Changes = defaultChanges
	}
	if s.Unique {
		s.Users = s.Changes
	}
	return s, s.check(now)
}

func (s shape) check(now time.Time) error {
	var wrong []error
	must := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	share := func(flag string, v, most float64) {
		must(v >= 0 && v <= most, "--%s is %v; a share from 0 to %v is right", flag, v, most)
	}
	must(plainText.MatchString(s.Prefix), "--prefix is %q; 1 to 64 letters, digits, dots, dashes and underscores are right", s.Prefix)
	must(s.Changes >= 0, "--changes is %d; more than 0 is right", s.Changes)
	must(s.Rate >= 0, "--rate is %d; 0 or more changes a second are right", s.Rate)
	must(s.Cohorts >= 1 && s.Cohorts <= mostCohorts, "--cohorts is %d; 1 to %d are right", s.Cohorts, mostCohorts)
	must(s.Zipf >= 0 && s.Zipf <= 10, "--zipf is %v; an exponent from 0 to 10 is right", s.Zipf)
	must(s.UsersPerRecord >= 1, "--users-per-record is %d; at least 1 is right", s.UsersPerRecord)
	must(s.DeviceIDs >= 0 && s.DeviceIDs <= 100, "--device-ids is %d; 0 to 100 are right", s.DeviceIDs)
	must(s.Properties >= 0 && s.Properties <= 100, "--properties is %d; 0 to 100 are right", s.Properties)
	must(s.LateBy >= time.Microsecond, "--late-by is %v; at least 1µs is right", s.LateBy)
	must(!s.StartTime.After(now), "--start-time is %v, in the future; a worker does not believe such times", s.StartTime.Format(time.RFC3339))
	must(s.StartTime.Year() >= 2000, "--start-time is %v; a worker does not believe times before the year 2000", s.StartTime.Format(time.RFC3339))
	share("singles", s.Singles, 1)
	share("churn", s.Churn, 0.5)
	share("late", s.Late, 0.5)
	share("duplicates", s.Duplicates, 1)
	if s.Unique {
		must(s.Changes > 0, "--unique needs to know how many users there are: give --changes")
		must(s.Churn+s.Late+s.Duplicates == 0, "--unique goes with neither --churn, --late nor --duplicates: each is a second change of a user")
	}
	must(s.Users >= int64(s.Cohorts) && s.Users <= mostUsers,
		"--users is %d (with --unique it is --changes); at least one for each of the %d cohorts, and at most %d, are right", s.Users, s.Cohorts, mostUsers)
	return errors.Join(wrong...)
}

// left returns how many changes may still come after drawn of them.
func (s shape) left(drawn int64) int64 {
	if s.Changes == 0 {
		return math.MaxInt64
	}
	return s.Changes - drawn
}
