package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cohortsync/internal/braze/brazetest"
)

const (
	// opsKept and operationsKept bound what is remembered of each request and
	// of each identifier in a cohort.
	opsKept        = 20
	operationsKept = 8
	// unlimited is what the simulated Braze takes for a limit of 0.
	unlimited = -1
)

// options are the command line.
type options struct {
	Listen string `env:"BRAZESIM_LISTEN" default:"127.0.0.1:8081" help:"Address to serve on. Whoever can reach it can see and change everything."`
	// Healthcheck is the one thing that needs no simulator.
	Healthcheck bool   `help:"Serve nothing: ask the brazesim that serves at --listen whether it is well, for a container's HEALTHCHECK. Exits with 0 or 1."`
	Seed        uint64 `help:"Seed of the faults, the jitter and the order in which attributes are applied; 0 takes one from the clock."`

	Partner        string `default:"amplitude" help:"Path segment of the cohorts API: /partners/NAME/cohorts."`
	PartnerKey     string `env:"BRAZESIM_PARTNER_KEY" help:"The partner API key to accept; none accepts any." placeholder:"KEY"`
	APIKey         string `env:"BRAZESIM_API_KEY" help:"The key to accept as the client secret of the cohorts API and the bearer token of the attributes API; none accepts any." placeholder:"KEY"`
	PartnerKeyFile string `help:"Take --partner-key from this file." type:"path" placeholder:"FILE"`
	APIKeyFile     string `help:"Take --api-key from this file." type:"path" placeholder:"FILE"`

	Limit      int           `default:"250000" help:"Requests that the cohorts API takes in each --per; 0 is no limit."`
	Per        time.Duration `default:"1h" help:"Window of --limit."`
	TrackLimit int           `default:"3000" help:"Requests that the attributes API takes in each --track-per; 0 is no limit."`
	TrackPer   time.Duration `default:"3s" help:"Window of --track-limit."`
	Dialect    string        `enum:"epoch,delta" default:"epoch" help:"How rate-limit headers tell the reset: epoch is Braze's usual way, delta that of its MAU plans."`

	ApplyWithin time.Duration `default:"1s" help:"Apply accepted attributes at a random moment within this time after the answer, so in any order; 0s applies before the answer."`

	Users       string   `help:"File of the users that exist, one a line: an external_id, or a JSON object with kind, label and value. Others are ignored, as Braze does." placeholder:"FILE" type:"path"`
	KnownPrefix []string `help:"Users whose value begins so exist, others are ignored. Without this and --users everybody exists." placeholder:"PREFIX"`
	BadPrefix   string   `help:"Refuse identifiers whose value begins so: with a 400 on the cohorts API, by themselves on the attributes API." placeholder:"PREFIX"`

	RequestLog string `help:"Write every request to this file when it comes and when it is over, one JSON object a line, without keys." placeholder:"FILE" type:"path"`

	History int `default:"1000" help:"Requests to remember; the oldest are forgotten first."`

	Faults faults `embed:"" group:"faults"`
}

// check finds what kong does not.
func (o options) check() error {
	var problems []error
	if o.Limit < 0 || o.TrackLimit < 0 {
		problems = append(problems, errors.New("a limit is at least 0, which is no limit"))
	}
	if o.Per <= 0 || o.TrackPer <= 0 {
		problems = append(problems, errors.New("the window of a limit is more than 0s"))
	}
	if o.ApplyWithin < 0 {
		problems = append(problems, fmt.Errorf("--apply-within is %s, and must be at least 0s", o.ApplyWithin))
	}
	if o.History < 1 {
		problems = append(problems, fmt.Errorf("--history is %d, and must be at least 1", o.History))
	}
	if (o.PartnerKey != "" && o.PartnerKeyFile != "") || (o.APIKey != "" && o.APIKeyFile != "") {
		problems = append(problems, errors.New("a key comes from one place: itself or its file"))
	}
	return errors.Join(append(problems, o.Faults.check())...)
}

// simulator is a simulated Braze and what stands around it.
type simulator struct {
	braze  *brazetest.Server
	users  *users
	script *script
	log    *requestLog
}

// newSimulator makes what the options say.
func newSimulator(o options, now time.Time) (*simulator, error) {
	users, err := newUsers(o.Users, o.KnownPrefix)
	if err != nil {
		return nil, err
	}
	partnerKey, err := keyOf(o.PartnerKey, o.PartnerKeyFile)
	if err != nil {
		return nil, fmt.Errorf("reading the partner's key: %w", err)
	}
	apiKey, err := keyOf(o.APIKey, o.APIKeyFile)
	if err != nil {
		return nil, fmt.Errorf("reading the API key: %w", err)
	}
	s := &simulator{users: users, script: &script{}}
	var observe func(brazetest.Request)
	if o.RequestLog != "" {
		if s.log, err = openRequestLog(o.RequestLog); err != nil {
			return nil, err
		}
		observe = s.log.note
	}
	dialect := brazetest.EpochReset
	if o.Dialect == "delta" {
		dialect = brazetest.DeltaReset
	}
	s.braze = brazetest.New(brazetest.Options{
		PartnerKey: partnerKey, APIKey: apiKey, Partner: o.Partner,
		Seed: cmp.Or(o.Seed, uint64(now.UnixNano())),
		Bad:  beginsWith(o.BadPrefix), Known: users.known(),
		Limit: cmp.Or(o.Limit, unlimited), Per: o.Per,
		TrackLimit: cmp.Or(o.TrackLimit, unlimited), TrackPer: o.TrackPer,
		Dialect: dialect, ApplyWithin: o.ApplyWithin,
		HistoryLimit: o.History, HistoryOps: opsKept, OperationLimit: operationsKept,
		Observe: observe,
	})
	s.braze.SetFaults(o.Faults.braze())
	s.braze.Script(s.script.next)
	return s, nil
}

// keyOf returns a key, or what its file holds. A file that holds none would
// accept every key, which is not what was asked for.
func keyOf(key, file string) (string, error) {
	if file == "" {
		return key, nil
	}
	text, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return "", err
	}
	if key = strings.TrimSpace(string(text)); key == "" {
		return "", fmt.Errorf("%s is empty", file)
	}
	return key, nil
}
