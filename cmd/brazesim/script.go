package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"cohortsync/internal/braze/brazetest"
)

// rule is a step of a script: what happens to the next requests that match.
type rule struct {
	Match match `json:"match"`
	// Kind is what happens; empty is "answer".
	Kind string `json:"kind,omitempty"`
	// Status, Headers and Body are the answer of the kinds that give one. A
	// body that is missing becomes a message in Braze's form.
	Status  int               `json:"status,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    *string           `json:"body,omitempty"`
	// Latency is what kind slow adds to the time of the answer.
	Latency duration `json:"latency,omitzero"`
	// Times is how many requests it is for; 0 is one, and forever all.
	Times int `json:"times"`

	fault brazetest.Fault
}

// match says which requests a rule is for; what is empty matches all.
type match struct {
	Path string `json:"path,omitempty"`
	// Cohort is a cohort's id, or an attribute's name.
	Cohort string `json:"cohort,omitempty"`
}

const forever = -1

// kinds are the names of what may happen to a request.
func kinds() map[string]brazetest.Kind {
	return map[string]brazetest.Kind{
		"answer": brazetest.Answered, "applied_then_answer": brazetest.AppliedThenAnswered,
		"applied_then_lost": brazetest.AppliedThenLost, "silent": brazetest.Silent, "reset": brazetest.Reset,
		"endless": brazetest.Endless, "stalled": brazetest.Stalled,
		"plain_errors": brazetest.PlainErrors, "unindexed_errors": brazetest.UnindexedErrors,
		"slow": brazetest.Slow,
	}
}

// compile makes the rule's fault.
func (r *rule) compile() error {
	kind, ok := kinds()[cmp.Or(r.Kind, "answer")]
	if !ok {
		return fmt.Errorf("kind is %q, and must be answer, applied_then_answer, applied_then_lost, silent, reset, endless, stalled, plain_errors, unindexed_errors or slow", r.Kind)
	}
	r.Times = cmp.Or(r.Times, 1)
	if r.Times < forever {
		return fmt.Errorf("times is %d, and must be at least 1, or -1 for ever", r.Times)
	}
	if (kind == brazetest.Slow) != (r.Latency > 0) {
		return errors.New("kind slow has a latency of more than 0s, and no other kind has one")
	}
	r.fault = brazetest.Fault{Kind: kind, Latency: time.Duration(r.Latency)}
	if kind != brazetest.Answered && kind != brazetest.AppliedThenAnswered {
		if r.Status != 0 || r.Headers != nil || r.Body != nil {
			return fmt.Errorf("kind %s takes no status, headers or body", r.Kind)
		}
		return nil
	}
	if r.Status < 200 || r.Status > 599 {
		return fmt.Errorf("status is %d, and must be from 200 to 599", r.Status)
	}
	r.fault.Status, r.fault.Header = r.Status, make(http.Header)
	for name, value := range r.Headers {
		r.fault.Header.Set(name, value)
	}
	if r.Body != nil {
		r.fault.Body = *r.Body
		return nil
	}
	body, err := json.Marshal(map[string]string{"message": http.StatusText(r.Status)})
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	r.fault.Body = string(body)
	return nil
}

func (m match) takes(r brazetest.Request) bool {
	if m.Path != "" && m.Path != r.Path {
		return false
	}
	return m.Cohort == "" || m.Cohort == r.Cohort ||
		slices.ContainsFunc(r.Ops, func(op brazetest.Op) bool { return op.Cohort == m.Cohort })
}

// script is a list of rules, the first that matches a request is its. It is
// safe for concurrent use, and calls nobody.
type script struct {
	mu    sync.Mutex
	rules []*rule
}

// set replaces the rules, all or none.
func (s *script) set(rules []*rule) error {
	for i, r := range rules {
		if r == nil {
			return fmt.Errorf("rule %d: %w", i, errors.New("it is null"))
		}
		if err := r.compile(); err != nil {
			return fmt.Errorf("rule %d: %w", i, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = rules
	return nil
}

// left returns the rules that are not used up.
func (s *script) left() []rule {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := make([]rule, len(s.rules))
	for i, r := range s.rules {
		left[i] = *r
	}
	return left
}

// next returns what happens to a request.
func (s *script) next(r brazetest.Request) brazetest.Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, rule := range s.rules {
		if !rule.Match.takes(r) {
			continue
		}
		if rule.Times > 0 {
			rule.Times--
		}
		if rule.Times == 0 {
			s.rules = slices.Delete(s.rules, i, i+1)
		}
		return rule.fault
	}
	return brazetest.Fault{}
}
