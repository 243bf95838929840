package brazetest

import (
	"net/http"

	"cohortsync/internal/catalog"
)

const (
	trackPath = "/users/track"

	// maxObjects is the most objects in a request, events and purchases
	// included (https://www.braze.com/docs/api/api_limits).
	maxObjects = 75
	// maxExternalID is in bytes, maxAttribute in characters.
	maxExternalID = 987
	maxAttribute  = 255
)

// The texts of the attributes API, as its documentation has them or as they
// were seen on the wire; that about long names is ours.
const (
	textKey         = "Invalid API Key"
	textObjects     = "Max Input Length Exceeded"
	textNoValidData = "Valid data must be provided in the 'attributes', 'events', or 'purchases' fields."
	textIdentifier  = "'external_id', 'braze_id', 'user_alias', 'email' or 'phone' is required"
	textLongID      = "'external_id' must be fewer than 988 bytes"
	textLongName    = "attribute names must be at most 255 characters"
	textBlocked     = "provided external_id is blacklisted and disallowed"
)

// trackRequest is what is read of a request of the attributes API, beside its
// operations.
type trackRequest struct {
	items []trackItem
	// objects counts those of all arrays.
	objects int
}

// trackItem is one object of the attributes array.
type trackItem struct {
	identifier catalog.Identifier
	// from and to bound its operations.
	from, to int
	// existing says that it creates nobody.
	existing bool
	err      string
}

// readTrack decodes a request as far as it goes, and answers what cannot be
// read.
func (x *exchange) readTrack() *reply {
	if s, ok := newScanner(x.body); !ok || !x.scanTrack(s) {
		if unread := x.decodeTrack(); unread != nil {
			return unread
		}
	}
	for i, op := range x.Ops {
		if i == 0 {
			x.Cohort = op.Cohort
		}
		if op.Cohort != x.Cohort {
			x.Cohort = ""
			break
		}
	}
	return nil
}

// blame marks the operations of the items that Braze refuses. It comes before
// anybody else sees the request.
func (x *exchange) blame() {
	for i := range x.track.items {
		item := &x.track.items[i]
		if item.err == "" && item.identifier.Kind != 0 && x.server.o.Bad != nil && x.server.o.Bad(item.identifier) {
			item.err = textBlocked
		}
		for at := item.from; at < item.to; at++ {
			x.Ops[at].Error = item.err
		}
	}
}

// auditTrack notes what a client of the attributes API must never do.
func (x *exchange) auditTrack() {
	s, r := x.server, x.Request
	if x.track.objects > maxObjects {
		s.violation(r, "%d objects", x.track.objects)
	}
	for i, item := range x.track.items {
		if !item.existing {
			s.violation(r, "object %d may create a user: _update_existing_only is not true", i)
		}
	}
}

// judgeTrack returns what Braze says against a request of the attributes API,
// or nil.
func (x *exchange) judgeTrack(kind Kind) *reply {
	key := x.server.keys[1]
	switch {
	case x.bearer == "" || key != "" && x.bearer != key:
		return says(http.StatusUnauthorized, textKey)
	case x.track.objects > maxObjects:
		return says(http.StatusBadRequest, textObjects)
	case x.track.objects > len(x.track.items):
		return nil // There are events or purchases, all of them fine.
	}
	for _, item := range x.track.items {
		if item.err == "" {
			return nil
		}
	}
	return tells(http.StatusBadRequest, processed{Message: textNoValidData, Errors: x.itemErrors(kind)})
}

// processed is the body of an answer.
type processed struct {
	Message   string `json:"message"`
	Processed int    `json:"attributes_processed,omitempty"`
	Errors    []any  `json:"errors,omitempty"`
}

// itemError is how Braze says that it refuses one item.
type itemError struct {
	Type  string `json:"type"`
	Array string `json:"input_array,omitempty"`
	Index *int   `json:"index,omitempty"`
}

// processed answers a request of which at least one item is valid.
func (x *exchange) processed(kind Kind) *reply {
	errors := x.itemErrors(kind)
	return tells(http.StatusCreated, processed{
		Message: "success", Processed: len(x.track.items) - len(errors), Errors: errors,
	})
}

// itemErrors returns what is wrong with single items, in the form that the
// kind of fault gives it.
func (x *exchange) itemErrors(kind Kind) []any {
	var all []any
	for i, item := range x.track.items {
		switch {
		case item.err == "":
		case kind == PlainErrors:
			all = append(all, item.err)
		case kind == UnindexedErrors:
			all = append(all, itemError{Type: item.err, Array: "attributes"})
		default:
			all = append(all, itemError{Type: item.err, Array: "attributes", Index: &i})
		}
	}
	return all
}
