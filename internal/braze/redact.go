package braze

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
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
// Of an answer that was cut it tells nothing: half a secret matches no form.
func (k *credentials) message(a *answer) string {
	text := fmt.Sprintf("%d %s", a.status, http.StatusText(a.status))
	said := string(a.body)
	var shape struct {
		Message string `json:"message"`
	}
	switch {
	case strings.TrimSpace(said) == "":
		return text
	case a.cut || a.err != nil:
		return text + ": an answer that was cut off"
	case looksLikeHTML(said):
		return text + ": an HTML page"
	case json.Unmarshal(a.body, &shape) == nil && shape.Message != "":
		said = shape.Message
	}
	return text + ": " + k.redact(said)
}

// redact replaces every secret in text, in any form it may have taken, before
// it cuts the text, so that no part of one is left at the end. A text that
// still holds one behind some escaping is left out as a whole.
func (k *credentials) redact(text string) string {
	text = printable(text)
	for _, form := range k.forms() {
		text = strings.ReplaceAll(text, form, placeholder)
	}
	if k.shines(text) {
		return placeholder
	}
	return cut(text, maxMessage)
}

// printable puts a space in the place of each control character.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, text)
}

// secrets are the keys as an answer may echo them: Braze may well trim what it
// was sent.
func (k *credentials) secrets() []string {
	var all []string
	for _, secret := range []string{k.partner, k.api} {
		if trimmed := strings.TrimSpace(printable(secret)); trimmed != "" {
			all = append(all, trimmed)
		}
	}
	return all
}

// forms are the ways in which the secrets may be written, the longest first,
// for one may hold another.
func (k *credentials) forms() []string {
	var all []string
	for _, secret := range append(k.secrets(), k.partner, k.api) {
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

// shines says that a secret shows through in another letter case or behind an
// escaping that forms does not know.
func (k *credentials) shines(text string) bool {
	readings := []string{text, html.UnescapeString(text), strings.ReplaceAll(text, `\/`, "/")}
	if unescaped, err := url.PathUnescape(text); err == nil {
		readings = append(readings, unescaped)
	}
	if unescaped, err := url.QueryUnescape(text); err == nil {
		readings = append(readings, unescaped)
	}
	readings = append(readings, unicodeEscape.ReplaceAllStringFunc(strings.ReplaceAll(text, `\/`, "/"), func(s string) string {
		code, _ := strconv.ParseUint(s[2:], 16, 16) // Four hexadecimal digits.
		return string(rune(code))
	}))
	for _, secret := range k.secrets() {
		for _, reading := range readings {
			if strings.Contains(strings.ToLower(reading), strings.ToLower(secret)) {
				return true
			}
		}
	}
	return false
}

// unicodeEscape is a character as JSON may escape it.
var unicodeEscape = regexp.MustCompile(`\\u[0-9a-fA-F]{4}`)

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
