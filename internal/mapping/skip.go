package mapping

import (
	"bytes"
	"unicode"
	"unicode/utf8"

	"cohortsync/internal/event"
)

// Skip is why a value is no identifier. The set is small and fixed, so that it
// can label a metric.
type Skip uint8

// The reasons for a skip.
const (
	// SkipNone: it is an identifier.
	SkipNone Skip = iota
	// SkipNoIdentifier: the user has a value at none of the paths.
	SkipNoIdentifier
	// SkipEmpty: an empty string, or one of white space only.
	SkipEmpty
	// SkipTooLong: longer than MaxBytes.
	SkipTooLong
	// SkipNotAString: neither a string nor an integer.
	SkipNotAString
	// SkipControlCharacters: a string with control characters.
	SkipControlCharacters
	// SkipInvalidUTF8: a string of invalid UTF-8 or with half a surrogate pair;
	// Braze would take it for another identifier.
	SkipInvalidUTF8
)

// Skips returns every reason but SkipNone.
func Skips() []Skip {
	return []Skip{
		SkipNoIdentifier, SkipEmpty, SkipTooLong, SkipNotAString,
		SkipControlCharacters, SkipInvalidUTF8,
	}
}

// String returns the reason as it stands in metrics and logs.
func (s Skip) String() string {
	switch s {
	case SkipNone:
		return "none"
	case SkipNoIdentifier:
		return "no_identifier"
	case SkipEmpty:
		return "empty"
	case SkipTooLong:
		return "too_long"
	case SkipNotAString:
		return "not_a_string"
	case SkipControlCharacters:
		return "control_characters"
	case SkipInvalidUTF8:
		return "invalid_utf8"
	default:
		return "unknown"
	}
}

// check says whether a value can be an identifier. It is taken as it stands:
// nothing is trimmed.
func check(v *event.Value) Skip {
	switch {
	case v.Kind != event.String && v.Kind != event.Integer:
		return SkipNotAString
	case v.Invalid:
		return SkipInvalidUTF8
	case len(v.Bytes) == 0:
		return SkipEmpty
	}
	plain := plain(v.Bytes)
	switch {
	case !plain && len(bytes.TrimSpace(v.Bytes)) == 0:
		return SkipEmpty
	case len(v.Bytes) > MaxBytes:
		return SkipTooLong
	case !plain && bytes.ContainsFunc(v.Bytes, unicode.IsControl):
		return SkipControlCharacters
	default:
		return SkipNone
	}
}

// plain says that a text is printable ASCII that does not begin with a space:
// the usual case, told apart cheaply.
func plain(text []byte) bool {
	if text[0] == ' ' {
		return false
	}
	for _, c := range text {
		if c < ' ' || c >= utf8.RuneSelf-1 {
			return false
		}
	}
	return true
}
