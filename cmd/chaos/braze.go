//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// The secrets that no log may show. Each Braze has its own.
const (
	partnerSecret = "partner-s3cr3t-5d20"
	apiSecret     = "api-s3cr3t-e9b1" //nolint:gosec // The simulated Braze takes it, and nobody else.
	wrongSecret   = "rotated-s3cr3t-17fc"
)

func secrets() []string { return []string{partnerSecret, apiSecret, wrongSecret} }

// simulated is a simulated Braze, as a process.
type simulated struct {
	process  *process
	address  string
	requests string // Its request log.
	// mu keeps two faults from losing each other's rules; misbehaved counts them.
	mu         sync.Mutex
	misbehaved int
}

func startBraze(ctx context.Context, program, dir, name string, seed uint64) (*simulated, error) {
	b := &simulated{requests: filepath.Join(dir, "braze-"+name+".jsonl")}
	b.process = &process{
		name: "brazesim " + name, program: program, log: filepath.Join(dir, "braze-"+name+".log"),
		env: []string{"BRAZESIM_PARTNER_KEY=" + partnerSecret, "BRAZESIM_API_KEY=" + apiSecret},
		args: []string{
			"--listen=127.0.0.1:0", "--request-log=" + b.requests, "--seed=" + strconv.FormatUint(seed|1, 10), "--bad-prefix=" + poison,
			"--latency=5ms", "--jitter=120ms", "--apply-within=300ms", "--history=1",
		},
	}
	if err := b.process.start(); err != nil {
		return nil, err
	}
	var err error
	b.address, err = b.process.firstLine(ctx, "endpoint")
	return b, err
}

// rule is a step of the simulated Braze's script.
type rule struct {
	Match   match             `json:"match"`
	Kind    string            `json:"kind,omitempty"`
	Status  int               `json:"status,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    *string           `json:"body,omitempty"`
	Latency string            `json:"latency,omitempty"`
	Times   int               `json:"times"`
}

type match struct {
	Path   string `json:"path,omitempty"`
	Cohort string `json:"cohort,omitempty"`
}

// rulesKept is how many rules wait for requests, and rulesLast how long they do
// after the last one: while nothing is sent they would pile up, and keep
// everything from being delivered later.
const (
	rulesKept = 3
	rulesLast = 1500 * time.Millisecond
)

// misbehave adds a rule to the newest of those that are left. It lasts until
// they are used up, or are old.
func (b *simulated) misbehave(ctx context.Context, r rule) error {
	number, err := b.addRule(ctx, r)
	if err != nil {
		return err
	}
	pass(ctx, rulesLast)
	b.mu.Lock()
	defer b.mu.Unlock()
	if number != b.misbehaved {
		return nil
	}
	return b.ask(context.WithoutCancel(ctx), http.MethodPost, "/admin/faults/script", []rule{}, nil)
}

func (b *simulated) addRule(ctx context.Context, r rule) (number int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.misbehaved++
	var left []rule
	if err := b.ask(ctx, http.MethodGet, "/admin/faults/script", nil, &left); err != nil {
		return 0, err
	}
	return b.misbehaved, b.ask(ctx, http.MethodPost, "/admin/faults/script", append(left[max(0, len(left)-rulesKept+1):], r), nil)
}

// behave ends all misbehaviour and makes the keys right.
func (b *simulated) behave(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return errors.Join(b.ask(ctx, http.MethodPost, "/admin/faults/script", []rule{}, nil), b.takeKey(ctx, apiSecret))
}

// takeKey makes an API key the only one that is taken.
func (b *simulated) takeKey(ctx context.Context, key string) error {
	return b.ask(ctx, http.MethodPut, "/admin/keys", map[string]string{"partner_key": partnerSecret, "api_key": key}, nil)
}

// counters are what a simulated Braze has had.
type counters struct {
	InFlight   int `json:"in_flight"`
	Operations struct{ Accepted, Due int }
	Members    int
}

func (b *simulated) counters(ctx context.Context) (c counters, err error) {
	err = b.ask(ctx, http.MethodGet, "/admin/counters", nil, &c)
	return c, err
}

func (b *simulated) ask(ctx context.Context, method, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encoding for %s: %w", b.process.name, err)
	}
	request, err := http.NewRequestWithContext(ctx, method, b.address+path, bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("asking %s: %w", b.process.name, err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("asking %s: %w", b.process.name, err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("asking %s: %s of %s", b.process.name, answer.Status, path)
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(answer.Body).Decode(into); err != nil {
		return fmt.Errorf("reading the answer of %s: %w", b.process.name, err)
	}
	return nil
}
