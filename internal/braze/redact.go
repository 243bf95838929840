package braze

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxMessage  = 300
	placeholder = "[redacted]"
)

// message is what an answer says, fit for logs and letters: without secrets
// (a 401 may echo the client secret), without control characters, and short.
func (k *credentials) message(status int, body []byte) string {
	text := fmt.Sprintf("%d %s", status, http.StatusText(status))
	said := string(body)
	var shape struct {
		Message string `json:"message"`
	}
	switch {
	case strings.TrimSpace(said) == "":
		return text
	case looksLikeHTML(said):
		return text + ": an HTML page"
	case json.Unmarshal(body, &shape) == nil && shape.Message != "":
		said = shape.Message
	}
	return k.redact(text + ": " + said)
}

// redact replaces every secret in text, in any form it may have taken, before
// it cuts the text, so that no part of one is left at the end.
func (k *credentials) redact(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, text)
	for _, form := range k.forms() {
		text = strings.ReplaceAll(text, form, placeholder)
	}
	return cut(text, maxMessage)
}

// forms are the ways in which the secrets may be written, the longest first,
// for one may hold another.
func (k *credentials) forms() []string {
	var all []string
	for _, secret := range []string{k.partner, k.api} {
		if secret == "" {
			continue
		}
		quoted, err := json.Marshal(secret)
		if err == nil {
			all = append(all, string(quoted[1:len(quoted)-1]))
		}
		own := appendString(nil, secret)
		all = append(all, string(own[1:len(own)-1]),
			url.QueryEscape(secret), url.PathEscape(secret), html.EscapeString(secret), secret)
	}
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	return all
}

// cut shortens text to at most n bytes, at the start of a character.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
