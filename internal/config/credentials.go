package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"cohortsync/internal/catalog"
)

// CredentialID names the target's API, endpoint and credentials, so that those
// who share them can share one throttle, for Braze limits each API by itself: the beginning of a hash of the secrets as
// they resolve now, else of the references. It is safe to log.
func (t Target) CredentialID() string {
	h := sha256.New()
	for _, part := range []string{string(t.API), t.Endpoint, t.PartnerAPIKey.resolvedOrText(), t.APIKey.resolvedOrText()} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}

func (s Secret) resolvedOrText() string {
	if value, err := s.Resolve(); err == nil {
		return value
	}
	return s.text
}

// checkCredentials compares the targets that share endpoint and credentials:
// Braze sees them as one.
func (c *Config) checkCredentials() Problems {
	var found Problems
	ids := make([]string, len(c.Targets))
	for i, t := range c.Targets {
		if t.Endpoint == "" || t.API == catalog.Cohorts && t.PartnerAPIKey.IsZero() || t.APIKey.IsZero() {
			continue
		}
		ids[i] = t.CredentialID()
		j := slices.Index(ids[:i], ids[i])
		if j < 0 {
			continue
		}
		if first := c.Targets[j]; first.RateLimit != t.RateLimit {
			found = append(found, c.file.problem(join(c.owners[i], "rate_limit"),
				fmt.Sprintf("differs from that of %q, which has the same endpoint and credentials", first.Name),
				"give both the same rate_limit: Braze counts them together"))
		}
		for ; j < i; j++ {
			if ids[j] == ids[i] && t.API == catalog.Cohorts {
				found = append(found, c.checkPair(c.Targets[j], c.Targets[i])...)
			}
		}
	}
	return found
}

// checkPair compares the syncs of two targets on one credential. The problem
// stands at the sync that comes later in the file.
func (c *Config) checkPair(a, b Target) Problems {
	var found Problems
	for i, late := range c.Syncs {
		other := a.Name
		if late.Target == a.Name {
			other = b.Name
		} else if late.Target != b.Name {
			continue
		}
		for _, early := range c.Syncs[:i] {
			if early.Target == other && meet(early, late) {
				found = append(found, c.sharedCohort(i, other, a, b))
				break
			}
		}
	}
	return found
}

func (c *Config) sharedCohort(i int, other string, a, b Target) Problem {
	what := fmt.Sprintf("sends a cohort that target %q sends too, with the same endpoint and credentials", other)
	if identifier, ok := overlap(a, b); ok {
		return c.file.problem(index("syncs", i), what+", and both send "+identifier,
			"let each identifier go through one target only, or make one target of the two")
	}
	p := c.file.problem(index("syncs", i), what, "one target with both identifiers does the same with fewer requests")
	p.Warning = true
	return p
}

func meet(a, b catalog.Sync) bool {
	return a.CohortID == b.CohortID || a.CohortID == catalog.Wildcard || b.CohortID == catalog.Wildcard
}

// overlap names an identifier that both targets send.
func overlap(a, b Target) (string, bool) {
	for _, r := range a.Identifiers {
		for _, s := range b.Identifiers {
			if r.To == 0 || r.To != s.To || r.Label != s.Label {
				continue
			}
			if r.To == catalog.UserAlias {
				return fmt.Sprintf("%s %q", r.To, r.Label), true
			}
			return r.To.String(), true
		}
	}
	return "", false
}
