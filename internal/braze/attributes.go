package braze

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"

	"cohortsync/internal/catalog"
)

// Attributes is the API that keeps one boolean custom attribute for each
// cohort (https://www.braze.com/docs/api/endpoints/user_data/post_user_track).
// It is safe for concurrent use; that an identifier is in one request at a
// time, and not again within the target's reorder guard, is the caller's to
// see to: Braze takes these requests now and applies them later.
type Attributes struct {
	client *client
	track  requestMetrics
}

// NewAttributes returns a client of the attributes API.
func NewAttributes(o Options) *Attributes {
	return &Attributes{client: newClient(o), track: o.Metrics.of(o.Target, endpointTrack)}
}

// Deliver sends a batch, in as many requests as it takes to find out what
// becomes of every item. It never sends after admit has refused.
func (a *Attributes) Deliver(ctx context.Context, batch Batch, admit Admit) Report {
	return a.client.divide(ctx, len(batch.Items), func(from, to int) error {
		items := batch.Items[from:to]
		return a.client.post(ctx, call{
			path: "/users/track", cohort: batch.CohortID, metrics: &a.track, admit: admit, bearer: true,
			body:  func(*credentials) []byte { return trackBody(batch.Attribute, items) },
			judge: func(a *answer, k *credentials) error { return judgeTrack(a, k, len(items)) },
		})
	})
}

// Probe asks Braze whether it knows the key, with a request that changes
// nothing: an empty one, which Braze refuses with 400 once it has let the key
// pass. The error is an *Error unless ctx ended.
func (a *Attributes) Probe(ctx context.Context) error {
	return a.client.post(ctx, call{
		path: "/users/track", metrics: &a.track, bearer: true, whole: true,
		admit: func(ctx context.Context) error { return ctx.Err() },
		body:  func(*credentials) []byte { return trackBody("", nil) },
		judge: func(*answer, *credentials) error { return nil },
	})
}

// trackBody is the request that writes an attribute of some users. An unknown
// identifier must never become a new user.
func trackBody(attribute string, items []Item) []byte {
	name := appendString(nil, attribute)
	size := 64
	for i := range items {
		size += len(items[i].Identifier.Value) + len(items[i].Identifier.Label) + len(name) + 96
	}
	b := append(make([]byte, 0, size), `{"attributes":[`...)
	for i := range items {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendTracked(b, &items[i].Identifier)
		b = append(append(b, `,"_update_existing_only":true,`...), name...)
		if items[i].Remove {
			b = append(b, `:false}`...)
		} else {
			b = append(b, `:true}`...)
		}
	}
	return append(b, `]}`...)
}

// appendTracked appends an object, left open, with the identifier.
func appendTracked(b []byte, id *catalog.Identifier) []byte {
	if id.Kind != catalog.UserAlias {
		return appendString(append(b, `{"external_id":`...), id.Value)
	}
	b = appendString(append(b, `{"user_alias":{"alias_name":`...), id.Value)
	b = appendString(append(b, `,"alias_label":`...), id.Label)
	return append(b, '}')
}

// partial is an answer that names the items at fault.
type partial struct {
	// faults are by the item's index within the request.
	faults map[int]Fault
	// passed says that all others were taken.
	passed bool
}

func (p *partial) Error() string { return fmt.Sprintf("%d items are refused", len(p.faults)) }

// aboutIdentifier matches the errors of single items that are about who is
// meant, by the texts of /users/track's page and those that others have seen
// ("'external_id' must be fewer than 988 bytes").
var aboutIdentifier = regexp.MustCompile(`(?i)external_(user_)?id|braze_id|alias|blacklist`)

// judgeTrack reads an answer to n items. Errors name their item by its index,
// or, as some do, not at all: then the batch is divided. A 400 says that no
// item is valid; only what is about identifiers is their fault.
func judgeTrack(a *answer, keys *credentials, n int) error {
	said, ok := readTracked(a.body)
	switch {
	case ok && a.status != http.StatusBadRequest && len(said.Errors) == 0 && said.fine():
		return nil // Most answers: there is nothing to put into words.
	case !ok:
		return &Error{Class: Unexpected, Status: a.status, Message: "an answer of another shape: " + keys.message(a)}
	}
	message := keys.message(a)
	faults, loose := said.faults(a.status, keys, n)
	if a.status == http.StatusBadRequest {
		return judgeTrackInvalid(message, faults, n)
	}
	switch {
	case len(said.Errors) == 0:
		return &Error{Class: Unexpected, Status: a.status, Message: message}
	case loose == nil:
		return &partial{faults: faults, passed: true}
	case n == 1:
		return &partial{faults: map[int]Fault{0: *loose}, passed: true}
	default:
		return &rejected{fault: *loose}
	}
}

func judgeTrackInvalid(message string, faults map[int]Fault, n int) error {
	about := 0
	for _, f := range faults {
		if aboutIdentifier.MatchString(f.Message) {
			about++
		}
	}
	switch {
	case n > 0 && about == n:
		return &partial{faults: faults}
	case about > 0 && n > 1:
		return &rejected{fault: Fault{Status: http.StatusBadRequest, Message: message}}
	default:
		return &Error{Class: Invalid, Status: http.StatusBadRequest, Message: message}
	}
}

// tracked is the body of an answer.
type tracked struct {
	Message string            `json:"message"`
	Errors  []json.RawMessage `json:"errors"`
}

// readTracked reads a body, which may be empty.
func readTracked(body []byte) (said tracked, ok bool) {
	if len(body) == 0 {
		return said, true
	}
	return said, json.Unmarshal(body, &said) == nil
}

// fine says that the message is no complaint: Braze says "queued" while it
// catches up (https://www.braze.com/docs/api/errors).
func (t *tracked) fine() bool {
	return t.Message == "" || t.Message == "success" || t.Message == "queued"
}

// faults returns the errors that name one of n items, and the first that names
// none.
func (t *tracked) faults(status int, keys *credentials, n int) (named map[int]Fault, loose *Fault) {
	named = make(map[int]Fault)
	for _, raw := range t.Errors {
		var e struct {
			Type  string `json:"type"`
			Array string `json:"input_array"`
			Index *int   `json:"index"`
		}
		known := json.Unmarshal(raw, &e) == nil
		text := e.Type
		if text == "" && json.Unmarshal(raw, &text) != nil {
			text = string(raw)
		}
		fault := Fault{Status: status, Message: keys.redact(text)}
		switch {
		case known && e.Index != nil && *e.Index >= 0 && *e.Index < n && (e.Array == "" || e.Array == "attributes"):
			named[*e.Index] = fault
		case loose == nil:
			loose = &fault
		}
	}
	return named, loose
}
