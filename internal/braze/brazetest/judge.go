package brazetest

import (
	"encoding/json"
	"net/http"
	"strconv"
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
	textCreatedAt = "`created_at` must be a valid time as an ISO-8601 string"
	limitedBody   = `{"message":"Rate limit exceeded"}`

	maxIdentifiers = 1000
)

// payload is the body of both requests.
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

// reply is an answer to be.
type reply struct {
	status int
	header http.Header
	body   string
}

func says(status int, message string) *reply {
	body, err := json.Marshal(map[string]string{"message": message})
	if err != nil {
		panic(err) // A string always has a JSON form.
	}
	return &reply{status: status, body: string(body)}
}

// read decodes a request as far as it goes, and answers what cannot be read.
func (x *exchange) read() *reply {
	root := "/partners/" + x.server.o.Partner + "/cohorts"
	switch {
	case x.path != root && x.path != root+"/users":
		return says(http.StatusNotFound, "Invalid URL")
	case x.method != http.MethodPost:
		return says(http.StatusMethodNotAllowed, "Method Not Allowed")
	case len(x.body) > x.server.o.MaxBody:
		return says(http.StatusRequestEntityTooLarge, "Request Entity Too Large")
	}
	x.Naming = x.path == root
	if err := json.Unmarshal(x.body, &x.payload); err != nil {
		if strings.Contains(err.Error(), "cohort_changes") {
			return says(http.StatusBadRequest, textChanges)
		}
		return says(http.StatusBadRequest, "Invalid JSON")
	}
	if x.payload.CohortID != nil {
		x.Cohort = *x.payload.CohortID
	}
	if x.payload.Name != nil {
		x.Name = *x.payload.Name
	}
	if x.payload.Changes == nil {
		return nil
	}
	for _, c := range *x.payload.Changes {
		add := func(id catalog.Identifier) { x.Ops = append(x.Ops, Op{id, c.ShouldRemove}) }
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

// audit notes what a client must never do.
func (x *exchange) audit() {
	s, r := x.server, &x.Request
	if r.UserAgent == "" || !strings.HasPrefix(r.UserAgent, "partner-") {
		s.violation(r, "User-Agent %q", r.UserAgent)
	}
	if len(r.Ops) > maxIdentifiers {
		s.violation(r, "%d identifiers", len(r.Ops))
	}
	seen := make(map[catalog.Identifier]bool, len(r.Ops))
	for _, op := range r.Ops {
		if seen[op.Identifier] {
			s.violation(r, "%v twice", op.Identifier)
		}
		seen[op.Identifier] = true
	}
	if !r.Naming && !s.cohort(r.Cohort).named {
		s.violation(r, "members of a cohort without a name")
	}
}

// judge returns what Braze says against a request, or nil.
func (x *exchange) judge() *reply {
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

// spend counts a request against the rate limit and returns its headers, and
// the 429 when nothing is left.
func (s *Server) spend() (http.Header, *reply) {
	now := time.Now()
	if window := now.Truncate(s.o.Per); !window.Equal(s.window) {
		s.window, s.used = window, 0
	}
	reset := s.window.Add(s.o.Per)
	if s.used >= s.o.Limit {
		return nil, &reply{status: http.StatusTooManyRequests, header: s.limitedHeader(reset.Sub(now)), body: limitedBody}
	}
	s.used++
	return s.rateHeader(s.o.Limit-s.used, reset.Sub(now)), nil
}

func (s *Server) rateHeader(remaining int, reset time.Duration) http.Header {
	h := make(http.Header)
	h.Set("X-RateLimit-Limit", strconv.Itoa(s.o.Limit))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(remaining))
	seconds := int64((reset + time.Second - 1) / time.Second)
	if s.o.Dialect == EpochReset {
		seconds = time.Now().Add(reset + time.Second - 1).Unix()
	}
	h.Set("X-RateLimit-Reset", strconv.FormatInt(seconds, 10))
	return h
}

func (s *Server) limitedHeader(reset time.Duration) http.Header {
	if s.o.Dialect == EpochReset {
		return s.rateHeader(0, reset)
	}
	h := make(http.Header)
	h.Set("X-Ratelimit-Retry-After", strconv.FormatInt(int64((reset+time.Second-1)/time.Second), 10))
	return h
}
