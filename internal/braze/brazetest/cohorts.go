package brazetest

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"cohortsync/internal/catalog"
)

// The texts of Braze's own documentation.
const (
	textCohortID = "`cohort_id` must be a valid string"
	textChanges  = "`cohort_changes` must be an array of objects each with key `user_ids` and/or `device_ids` " +
		"mapping to an array of strings, or an `aliases` object"
	textTooMany   = "Only 1,000 `user_ids`, `device_ids`, and `aliases` are allowed per request"
	textName      = "`name` must be a non-empty string"
	textJSON      = "Invalid JSON"
	textCreatedAt = "`created_at` must be a valid time as an ISO-8601 string"

	maxIdentifiers = 1000
)

// payload is the body of both requests of the cohorts API.
type payload struct {
	PartnerKey   *string `json:"partner_api_key"`
	ClientSecret *string `json:"client_secret"`
	CohortID     *string `json:"cohort_id"`
	Name         *string `json:"name"`
	CreatedAt    *string `json:"created_at"`
	Changes      *[]struct {
		UserIDs      []string `json:"user_ids"`
		DeviceIDs    []string `json:"device_ids"`
		Aliases      []alias  `json:"aliases"`
		ShouldRemove bool     `json:"should_remove"`
	} `json:"cohort_changes"`
}

type alias struct {
	Name  string `json:"alias_name"`
	Label string `json:"alias_label"`
}

// readCohorts decodes a request of the cohorts API as far as it goes, and
// answers what cannot be read.
func (x *exchange) readCohorts() *reply {
	if err := json.Unmarshal(x.body, &x.payload); err != nil {
		if strings.Contains(err.Error(), "cohort_changes") {
			return says(http.StatusBadRequest, textChanges)
		}
		return says(http.StatusBadRequest, textJSON)
	}
	x.Cohort, x.Name = text(x.payload.CohortID), text(x.payload.Name)
	if x.payload.Changes == nil {
		return nil
	}
	for _, c := range *x.payload.Changes {
		add := func(id catalog.Identifier) {
			x.Ops = append(x.Ops, Op{Identifier: id, Remove: c.ShouldRemove, Cohort: x.Cohort})
		}
		for _, v := range c.UserIDs {
			add(catalog.Identifier{Kind: catalog.ExternalID, Value: v})
		}
		for _, v := range c.DeviceIDs {
			add(catalog.Identifier{Kind: catalog.DeviceID, Value: v})
		}
		for _, a := range c.Aliases {
			add(catalog.Identifier{Kind: catalog.UserAlias, Value: a.Name, Label: a.Label})
		}
	}
	return nil
}

// auditCohorts notes what a client of the cohorts API must never do.
func (x *exchange) auditCohorts() {
	s, r := x.server, &x.Request
	if !strings.HasPrefix(r.UserAgent, "partner-") {
		s.violation(r, "User-Agent %q", r.UserAgent)
	}
	if len(r.Ops) > maxIdentifiers {
		s.violation(r, "%d identifiers", len(r.Ops))
	}
	// Without members it is the probe of the credentials.
	if len(r.Ops) > 0 && !s.cohort(r.Cohort).named {
		s.violation(r, "members of a cohort without a name")
	}
}

// judgeCohorts returns what Braze says against a request of the cohorts API,
// or nil.
func (x *exchange) judgeCohorts() *reply {
	s, p := x.server, &x.payload
	partner, client := text(p.PartnerKey), text(p.ClientSecret)
	switch {
	case s.keys[0] != "" && partner != s.keys[0]:
		return says(http.StatusUnauthorized, "Invalid Partner API key")
	case s.keys[1] != "" && client != s.keys[1]:
		// Braze's own text echoes the secret.
		return says(http.StatusUnauthorized, "Partner not enabled for client with client secret: "+client)
	case text(p.CohortID) == "":
		return says(http.StatusBadRequest, textCohortID)
	}
	if x.Naming {
		if text(p.Name) == "" {
			return says(http.StatusBadRequest, textName)
		}
		if _, err := time.Parse(time.RFC3339, text(p.CreatedAt)); err != nil {
			return says(http.StatusBadRequest, textCreatedAt)
		}
		return nil
	}
	if p.Changes == nil {
		return says(http.StatusBadRequest, textChanges)
	}
	if len(x.Ops) > maxIdentifiers {
		return says(http.StatusBadRequest, textTooMany)
	}
	for _, op := range x.Ops {
		if s.o.Bad != nil && s.o.Bad(op.Identifier) {
			return says(http.StatusBadRequest, textChanges)
		}
	}
	return nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
