package braze

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
)

// aboutRequest matches the 400s that no choice of identifiers can mend, by the
// texts of https://www.braze.com/docs/partners/isv_partners/cohort_import.
var aboutRequest = regexp.MustCompile("(?i)(?:^|[^\\w])(?:cohort_id|name|created_at)`? must be|only 1,?000 ")

// judge turns an answer into nil, *Error, *rejected or *partial.
func (a *answer) judge(keys *credentials, of *call) error {
	switch {
	case a.status == 0:
		return &Error{Class: Unreachable, Message: keys.redact(a.err.Error()), Err: a.err}
	case a.status/100 == 2:
		if err := a.judgeSuccess(keys); err != nil {
			return err
		}
		return of.judge(a, keys)
	}
	failed := &Error{Class: Unexpected, Status: a.status, Message: keys.message(a)}
	switch {
	case a.status == http.StatusRequestEntityTooLarge && !of.whole:
		return &rejected{fault: Fault{Status: a.status, Message: failed.Message}, tooLarge: true}
	case a.status == http.StatusBadRequest:
		return of.judge(a, keys)
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden, a.status == http.StatusNotFound:
		failed.Class = Refused
	case a.status == http.StatusTooManyRequests:
		failed.Class = Limited
	case a.status == http.StatusLocked:
		failed.Class = Busy
	case a.status == http.StatusRequestTimeout, a.status >= 500 && a.status < 600:
		failed.Class = Unreachable
	}
	return failed
}

// judgeSuccess looks at the body of a 2xx: a proxy or a portal may have
// answered in Braze's place.
func (a *answer) judgeSuccess(keys *credentials) error {
	if a.err != nil {
		return &Error{Class: Unreachable, Status: a.status, Message: keys.redact("reading the answer: " + a.err.Error()), Err: a.err}
	}
	body := bytes.TrimSpace(a.body)
	if !a.cut && (len(body) == 0 || body[0] == '{' && json.Valid(body)) {
		return nil
	}
	return &Error{
		Class: Unexpected, Status: a.status,
		Message: "neither an empty answer nor a JSON object: " + keys.message(a),
	}
}

// judgeNaming reads the answer to a naming: nothing in it can be left out.
func judgeNaming(a *answer, keys *credentials) error {
	if a.status != http.StatusBadRequest {
		return nil
	}
	return &Error{Class: Invalid, Status: a.status, Message: keys.message(a)}
}

// judgeMembers reads the answer to a change of members: it is about all of it
// or about the request.
func judgeMembers(a *answer, keys *credentials) error {
	if a.status != http.StatusBadRequest {
		return nil
	}
	message := keys.message(a)
	if aboutRequest.MatchString(message) {
		return &Error{Class: Invalid, Status: a.status, Message: message}
	}
	return &rejected{fault: Fault{Status: a.status, Message: message}}
}

// looksLikeHTML says that an answer is a page for people.
func looksLikeHTML(body string) bool {
	start := strings.ToLower(strings.TrimSpace(body[:min(len(body), 512)]))
	return strings.HasPrefix(start, "<!doctype html") || strings.HasPrefix(start, "<html") || strings.Contains(start, "<html")
}
