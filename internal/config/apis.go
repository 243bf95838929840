package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"cohortsync/internal/catalog"
)

// completeAttributes sets what has another default for the attributes API,
// unless the file gives it. The rate limit is that of /users/track for most
// customers (https://www.braze.com/docs/api/api_limits).
func completeAttributes(t *Target, given func(key string) bool) {
	if t.API != catalog.Attributes {
		return
	}
	if !given("partner") {
		t.Partner = ""
	}
	if !given("attribute") {
		t.Attribute = defaultAttribute
	}
	if !given("reorder_guard") {
		t.ReorderGuard = time.Second
	}
	if !given("max_batch") {
		t.MaxBatch = t.API.MaxBatch()
	}
	if !given("rate_limit.requests") {
		t.RateLimit.Requests = 3000
	}
	if !given("rate_limit.per") {
		t.RateLimit.Per = 3 * time.Second
	}
}

// checkAPIs holds each target to the keys and values of its API.
func (c *Config) checkAPIs() Problems {
	var found Problems
	for i, t := range c.Targets {
		report := func(key, what, want string) {
			found = append(found, c.file.problem(join(c.owners[i], key), what, want))
		}
		given := func(key string) bool { return c.file.has(join(c.owners[i], key)) }
		if t.API == catalog.Attributes {
			c.checkAttributesTarget(i, report, given)
			continue
		}
		if !given("partner_api_key") {
			report("partner_api_key", "is missing", "add partner_api_key: the key that Braze gave the partner, or use api: attributes")
		}
		for _, key := range []string{"attribute", "reorder_guard"} {
			if given(key) {
				report(key, "is for the attributes API only", "remove it, or use api: attributes")
			}
		}
	}
	return found
}

func (c *Config) checkAttributesTarget(i int, report func(key, what, want string), given func(key string) bool) {
	t := c.Targets[i]
	for _, key := range []string{"partner", "partner_api_key"} {
		if given(key) {
			report(key, "is for the cohorts API only", "remove it, or use api: cohorts")
		}
	}
	if most := t.API.MaxBatch(); t.MaxBatch > most {
		report("max_batch", "is too high for the attributes API", fmt.Sprintf("want a whole number from 1 to %d", most))
	}
	for j, r := range t.Identifiers {
		if r.To == catalog.DeviceID {
			report(join(index("identifiers", j), "to"), "is an identifier that the attributes API does not take",
				"use external_id or user_alias, or api: cohorts")
		}
	}
}

// checkAttributes sees to it that no two syncs of one credential write the same
// custom attribute: each would undo the other.
func (c *Config) checkAttributes() Problems {
	var found Problems
	type place struct{ credential, attribute string }
	first := make(map[place]int)
	for i, s := range c.Syncs {
		t := c.attributesTarget(s.Target)
		if t == nil || s.CohortID == "" {
			continue
		}
		if s.CohortID == catalog.Wildcard && !strings.Contains(t.Attribute, catalog.CohortIDPlaceholder) {
			found = append(found, c.file.problem(index("syncs", i),
				"would write every cohort to one attribute, for the target's attribute has no {cohort_id}",
				"put {cohort_id} into the attribute, or name the cohorts one by one"))
			continue
		}
		name, wrong := t.AttributeOf(s.CohortID, s.Name)
		if wrong != "" {
			found = append(found, c.file.problem(index("syncs", i), "writes an attribute whose name "+wrong, "change the target's attribute"))
			continue
		}
		at := place{t.CredentialID(), name}
		if other, again := first[at]; again {
			found = append(found, c.file.problem(index("syncs", i),
				fmt.Sprintf("writes the attribute %q, as %s does with the same credentials", name, index("syncs", other)),
				"give one of the targets another attribute"))
			continue
		}
		first[at] = i
	}
	return append(found, c.checkWildcards()...)
}

// checkWildcards finds the syncs of all cohorts that would write what another
// sync of the same credential writes for a cohort that it names.
func (c *Config) checkWildcards() Problems {
	var found Problems
	for i, all := range c.Syncs {
		t := c.attributesTarget(all.Target)
		if t == nil || all.CohortID != catalog.Wildcard {
			continue
		}
		for _, one := range c.Syncs {
			other := c.attributesTarget(one.Target)
			if other == nil || one.CohortID == catalog.Wildcard || one.Target == all.Target ||
				other.CredentialID() != t.CredentialID() || c.names(all.Target, one.CohortID) {
				continue
			}
			name, _ := other.AttributeOf(one.CohortID, one.Name)
			if mine, _ := t.AttributeOf(one.CohortID, all.Name); mine == name {
				found = append(found, c.file.problem(index("syncs", i),
					fmt.Sprintf("writes the attribute %q, as target %q does with the same credentials", name, other.Name),
					"give one of the targets another attribute"))
				break
			}
		}
	}
	return found
}

// names says that a sync of the target names the cohort.
func (c *Config) names(target, cohort string) bool {
	return slices.ContainsFunc(c.Syncs, func(s catalog.Sync) bool { return s.Target == target && s.CohortID == cohort })
}

// attributesTarget returns the named target if it is one of the attributes API
// and complete enough to be compared.
func (c *Config) attributesTarget(name string) *Target {
	for i := range c.Targets {
		if t := &c.Targets[i]; t.Name == name && t.API == catalog.Attributes && t.Endpoint != "" && !t.APIKey.IsZero() {
			return t
		}
	}
	return nil
}
