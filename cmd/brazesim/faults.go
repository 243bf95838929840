package main

import (
	"errors"
	"fmt"
	"time"

	"cohortsync/internal/braze/brazetest"
)

// faults are failures by probability, on the command line and in the admin
// API. A field's meaning is that of its namesake in brazetest.Faults.
type faults struct {
	Latency          duration `json:"latency" default:"0s" help:"Time that every answer takes."`
	Jitter           duration `json:"jitter" default:"0s" help:"Add up to as much to the latency."`
	ServerError      float64  `json:"server_error" placeholder:"P" help:"Answer 503 and apply nothing."`
	AppliedThenLost  float64  `json:"applied_then_lost" placeholder:"P" help:"Apply and never answer."`
	AppliedThenError float64  `json:"applied_then_error" placeholder:"P" help:"Apply and answer 502."`
	Limited          float64  `json:"limited" placeholder:"P" help:"Answer 429 with a reset in 1 s to --limited-for."`
	LimitedFor       duration `json:"limited_for" default:"30s" help:"The longest reset of a 429 by chance, in whole seconds."`
	Locked           float64  `json:"locked" placeholder:"P" help:"Answer 423."`
	Reset            float64  `json:"reset" placeholder:"P" help:"Cut the connection and apply nothing."`
	Silent           float64  `json:"silent" placeholder:"P" help:"Never answer and apply nothing."`
	HTML             float64  `json:"html" name:"html" placeholder:"P" help:"Answer 200 with a page for people and apply nothing."`
	TooLarge         float64  `json:"too_large" placeholder:"P" help:"Answer 413."`
	NotSuccess       float64  `json:"not_success" placeholder:"P" help:"Answer 201 with a message other than success and apply nothing."`
	PlainErrors      float64  `json:"plain_errors" placeholder:"P" help:"Tell what is wrong with single items of the attributes API as strings."`
	UnindexedErrors  float64  `json:"unindexed_errors" placeholder:"P" help:"Do not tell which items of the attributes API are wrong."`
}

// defaultLimitedFor is what limited_for is when nobody says so.
const defaultLimitedFor = 30 * time.Second

// duration is written as 50ms in JSON, too.
type duration time.Duration

// MarshalText writes a duration as Go does.
func (d duration) MarshalText() ([]byte, error) { //nolint:unparam // The interface has an error.
	return []byte(time.Duration(d).String()), nil
}

// UnmarshalText reads what MarshalText writes.
func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is no duration such as 50ms", text)
	}
	*d = duration(parsed)
	return nil
}

// check finds what is out of range.
func (f *faults) check() error {
	if f.Latency < 0 || f.Jitter < 0 {
		return errors.New("latency and jitter are at least 0s")
	}
	if f.LimitedFor < duration(time.Second) {
		return errors.New("limited_for is at least 1s")
	}
	for _, p := range []struct {
		name  string
		value float64
	}{
		{"server_error", f.ServerError},
		{"applied_then_lost", f.AppliedThenLost},
		{"applied_then_error", f.AppliedThenError},
		{"limited", f.Limited},
		{"locked", f.Locked},
		{"reset", f.Reset},
		{"silent", f.Silent},
		{"html", f.HTML},
		{"too_large", f.TooLarge},
		{"not_success", f.NotSuccess},
		{"plain_errors", f.PlainErrors},
		{"unindexed_errors", f.UnindexedErrors},
	} {
		if !(p.value >= 0 && p.value <= 1) {
			return fmt.Errorf("%s is %v, and must be a probability from 0 to 1", p.name, p.value)
		}
	}
	return nil
}

func (f *faults) braze() brazetest.Faults {
	return brazetest.Faults{
		Latency: time.Duration(f.Latency), Jitter: time.Duration(f.Jitter),
		ServerError: f.ServerError, AppliedThenLost: f.AppliedThenLost, AppliedThenError: f.AppliedThenError,
		Limited: f.Limited, LimitedFor: time.Duration(f.LimitedFor), Locked: f.Locked,
		Reset: f.Reset, Silent: f.Silent, HTML: f.HTML, TooLarge: f.TooLarge, NotSuccess: f.NotSuccess,
		PlainErrors: f.PlainErrors, UnindexedErrors: f.UnindexedErrors,
	}
}

func faultsOf(f brazetest.Faults) faults {
	return faults{
		Latency: duration(f.Latency), Jitter: duration(f.Jitter),
		ServerError: f.ServerError, AppliedThenLost: f.AppliedThenLost, AppliedThenError: f.AppliedThenError,
		Limited: f.Limited, LimitedFor: duration(f.LimitedFor), Locked: f.Locked,
		Reset: f.Reset, Silent: f.Silent, HTML: f.HTML, TooLarge: f.TooLarge, NotSuccess: f.NotSuccess,
		PlainErrors: f.PlainErrors, UnindexedErrors: f.UnindexedErrors,
	}
}
