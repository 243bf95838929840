package brazetest

import (
	"encoding/json"
	"net/http"
	"slices"
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

// cohortsRequest is what is read of a request of the cohorts API, beside its
// operations. Of a missing field Braze says the same as of an empty one.
type cohortsRequest struct {
	partnerKey, secret, createdAt string
	// changes says that there are cohort_changes, be they empty, each of an array
	// at least.
	changes bool
}

// change is one object of the changes; an array that is not there is nil.
type change struct {
	UserIDs      []string `json:"user_ids"`
	DeviceIDs    []string `json:"device_ids"`
	Aliases      []alias  `json:"aliases"`
	ShouldRemove bool     `json:"should_remove"`
}

// ofNobody says that the object has none of the arrays, of which Braze wants
// at least one, be it empty.
func (c change) ofNobody() bool { return c.UserIDs == nil && c.DeviceIDs == nil && c.Aliases == nil }

type alias struct {
	Name  string `json:"alias_name"`
	Label string `json:"alias_label"`
}

// readCohorts decodes a request of the cohorts API as far as it goes, and
// answers what cannot be read.
func (x *exchange) readCohorts() *reply {
	if s, ok := newScanner(x.body); ok && x.scanCohorts(s) {
		return nil
	}
	return x.decodeCohorts()
}

// scanCohorts reads both requests of the cohorts API, unless it gives up.
func (x *exchange) scanCohorts(s *scanner) bool {
	var r Request
	var c cohortsRequest
	ok := s.open()
	for _, field := range []struct {
		name string
		to   *string
	}{
		{"partner_api_key", &c.partnerKey},
		{"client_secret", &c.secret},
		{"cohort_id", &r.Cohort},
		{"name", &r.Name},
		{"created_at", &c.createdAt},
	} {
		if ok && s.key(field.name) {
			*field.to, ok = s.str()
		}
	}
	if ok && s.key("cohort_changes") {
		c.changes = true
		r.Ops = make([]Op, 0, strings.Count(s.text[s.at:], ",")+1)
		ok = s.list(func() bool { return s.change(&r) })
	}
	if !ok || !s.shut() || !s.end() {
		return false
	}
	x.Cohort, x.Name, x.Ops, x.cohorts = r.Cohort, r.Name, r.Ops, c
	return true
}

// change reads an object of cohort_changes.
func (s *scanner) change(r *Request) bool {
	from, ok, arrays := len(r.Ops), s.open(), 0
	ids := func(name string, kind catalog.Kind) {
		if !ok || !s.key(name) {
			return
		}
		arrays++
		ok = s.list(func() bool {
			value, ok := s.str()
			r.Ops = append(r.Ops, Op{Identifier: catalog.Identifier{Kind: kind, Value: value}, Cohort: r.Cohort})
			return ok
		})
	}
	ids("user_ids", catalog.ExternalID)
	ids("device_ids", catalog.DeviceID)
	if ok && s.key("aliases") {
		arrays++
		ok = s.list(func() bool {
			id, ok := s.alias()
			r.Ops = append(r.Ops, Op{Identifier: id, Cohort: r.Cohort})
			return ok
		})
	}
	if ok && s.key("should_remove") {
		remove := s.word("true")
		ok = remove || s.word("false")
		for i := from; i < len(r.Ops); i++ {
			r.Ops[i].Remove = remove
		}
	}
	return ok && arrays > 0 && s.shut()
}

// decodeCohorts reads any request of the cohorts API.
func (x *exchange) decodeCohorts() *reply {
	var body struct {
		PartnerKey   string    `json:"partner_api_key"`
		ClientSecret string    `json:"client_secret"`
		CohortID     string    `json:"cohort_id"`
		Name         string    `json:"name"`
		CreatedAt    string    `json:"created_at"`
		Changes      *[]change `json:"cohort_changes"`
	}
	if err := json.Unmarshal(x.body, &body); err != nil {
		if strings.Contains(err.Error(), "cohort_changes") {
			return says(http.StatusBadRequest, textChanges)
		}
		return says(http.StatusBadRequest, textJSON)
	}
	x.Cohort, x.Name = body.CohortID, body.Name
	x.cohorts = cohortsRequest{body.PartnerKey, body.ClientSecret, body.CreatedAt, body.Changes != nil && !slices.ContainsFunc(*body.Changes, change.ofNobody)}
	if body.Changes == nil {
		return nil
	}
	for _, c := range *body.Changes {
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
	s, r := x.server, x.Request
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
	s, r := x.server, &x.cohorts
	switch {
	case s.keys[0] != "" && r.partnerKey != s.keys[0]:
		return says(http.StatusUnauthorized, "Invalid Partner API key")
	case s.keys[1] != "" && r.secret != s.keys[1]:
		// Braze's own text echoes the secret.
		return says(http.StatusUnauthorized, "Partner not enabled for client with client secret: "+r.secret)
	case x.Cohort == "":
		return says(http.StatusBadRequest, textCohortID)
	case x.Naming:
		return x.judgeNaming()
	case !r.changes:
		return says(http.StatusBadRequest, textChanges)
	case len(x.Ops) > maxIdentifiers:
		return says(http.StatusBadRequest, textTooMany)
	case s.o.Bad == nil:
		return nil
	}
	for _, op := range x.Ops {
		if s.o.Bad(op.Identifier) {
			return says(http.StatusBadRequest, textChanges)
		}
	}
	return nil
}

func (x *exchange) judgeNaming() *reply {
	if x.Name == "" {
		return says(http.StatusBadRequest, textName)
	}
	if _, err := time.Parse(time.RFC3339, x.cohorts.createdAt); err != nil {
		return says(http.StatusBadRequest, textCreatedAt)
	}
	return nil
}
