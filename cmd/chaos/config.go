//go:build unix

package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"cohortsync/internal/chaoscheck"
)

const (
	workers     = 3
	topic       = "changes"
	deadLetters = topic + ".dead-letter"
	group       = "chaos"
)

// timing is the workers', as short as it can be told apart on a busy machine.
type timing struct{ session, drain, request time.Duration }

// destination is a target as it is configured, and as it is checked.
type destination struct {
	name, slug string
	first      bool
	rules      []chaoscheck.Rule
	// cohorts are synced each by name; none are all, by "*".
	cohorts []string
}

// destinations are two targets. The second has some of the first one's
// cohorts, under syncs of their own, and prefers the alias.
func destinations(api string) []destination {
	user := chaoscheck.Rule{From: "user_id", Kind: "external_id"}
	alias := chaoscheck.Rule{From: "user_properties.crm_id", Kind: "user_alias", Label: "crm"}
	all := []chaoscheck.Rule{user, {From: "device_id", Kind: "device_id"}}
	if api == attributes {
		all = []chaoscheck.Rule{user, alias}
	}
	return []destination{
		{name: "US East", slug: "us-east", rules: all},
		{name: "EU", slug: "eu", first: true, rules: []chaoscheck.Rule{alias, user}, cohorts: []string{cohortName(0), cohortName(1), cohortName(2), cohortName(4)}},
	}
}

const attributes = "attributes"

func (d destination) target(api string) chaoscheck.Target {
	return chaoscheck.Target{
		Name: d.name, Group: group + "." + d.slug, Attributes: api == attributes, Rules: d.rules, First: d.first, Cohorts: d.cohorts,
	}
}

// configure writes one worker's configuration.
func configure(file, broker, api, listen string, t timing, to []destination, endpoints []string) error {
	var targets, syncs strings.Builder
	for i, d := range to {
		fmt.Fprintf(&targets, "  - name: %s\n    api: %s\n    endpoint: %s\n    allow_any_endpoint: true\n    api_key: ${env:API_KEY}\n", d.name, api, endpoints[i])
		if api != attributes {
			targets.WriteString("    partner_api_key: ${env:PARTNER_KEY}\n")
		}
		send := "all"
		if d.first {
			send = "first"
		}
		fmt.Fprintf(&targets, "    request_timeout: %s\n    max_dead_letters_per_minute: 1000000\n    send: %s\n    identifiers:\n", t.request, send)
		for _, r := range d.rules {
			label := ""
			if r.Label != "" {
				label = ", label: " + r.Label
			}
			fmt.Fprintf(&targets, "      - {from: %s, to: %s%s}\n", r.From, r.Kind, label)
		}
		if d.cohorts == nil {
			fmt.Fprintf(&syncs, "  - {name: everything, cohort_id: \"*\", target: %s}\n", d.name)
		}
		for _, c := range d.cohorts {
			fmt.Fprintf(&syncs, "  - {name: %s-%s, cohort_id: %s, target: %s}\n", d.slug, c, c, d.name)
		}
	}
	text := fmt.Sprintf(`kafka:
  brokers: [%q]
  topic: %s
  group: %s
  session_timeout: %s
  rebalance_timeout: %s
  heartbeat_interval: 300ms
  drain_timeout: %s
  commit_interval: 200ms
targets:
%ssyncs:
%sdelivery: {linger: 50ms}
http: {listen: %q}
`, broker, topic, group, t.session, t.session, t.drain, targets.String(), syncs.String(), listen)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return fmt.Errorf("writing a worker's configuration: %w", err)
	}
	return nil
}
