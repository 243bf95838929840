package event

import (
	"bytes"
	"encoding/json"
	"io"
	"math/big"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// wantedUser is what encoding/json finds at the wanted paths of one user.
type wantedUser []wantedValue

type wantedValue struct {
	path int
	kind ValueKind
	text string
}

// wantedEvent is what a record holds according to encoding/json, or the reason
// for which it is refused.
type wantedEvent struct {
	reason                Reason
	id, name, message     string
	in                    bool
	micros                int64
	issue                 TimeIssue
	users                 []wantedUser
	exponentTooLargeToTry bool
}

// reference decodes a record by way of encoding/json into maps, slowly and
// plainly.
func reference(value []byte, stamp time.Time, paths []Path) (want wantedEvent) {
	if !json.Valid(value) {
		want.reason = NotJSON
		return want
	}
	var doc any
	dec := json.NewDecoder(bytes.NewReader(value))
	dec.UseNumber()
	if err := dec.Decode(&doc); err != nil && err != io.EOF {
		want.reason = NotJSON
		return want
	}
	object, ok := doc.(map[string]any)
	if !ok {
		want.reason = NotAnObject
		return want
	}
	id, ok := object["cohort_id"].(string)
	if !ok || id == "" {
		want.reason = NoCohortID
		return want
	}
	if len(id) > 255 || strings.TrimSpace(id) == "" || strings.ContainsFunc(id, unicode.IsControl) {
		want.reason = BadCohortID
		return want
	}
	switch in := object["in_cohort"].(type) {
	case nil:
		want.reason = InCohortMissing
		return want
	case bool:
		want.in = in
	default:
		want.reason = InCohortNotBoolean
		return want
	}
	users, ok := object["users"].([]any)
	if !ok {
		want.reason = NoUsers
		return want
	}
	for _, u := range users {
		user, ok := u.(map[string]any)
		if !ok {
			want.reason = BadUser
			return want
		}
		want.users = append(want.users, referenceUser(user, paths))
	}
	want.id = id
	want.name, _ = object["cohort_name"].(string)
	want.message, _ = object["message_id"].(string)
	want.micros, want.issue, want.exponentTooLargeToTry = referenceTime(object["computed_time"], stamp)
	return want
}

func referenceUser(user map[string]any, paths []Path) (want wantedUser) {
	for index, path := range paths {
		var at any = user
		for _, step := range path {
			object, _ := at.(map[string]any)
			at = object[step]
		}
		elements, ok := at.([]any)
		if !ok {
			elements = []any{at}
		}
		for _, e := range elements {
			switch e := e.(type) {
			case nil:
			case string:
				want = append(want, wantedValue{index, String, e})
			case json.Number:
				if strings.ContainsAny(e.String(), ".eE") {
					want = append(want, wantedValue{index, Other, ""})
				} else {
					want = append(want, wantedValue{index, Integer, e.String()})
				}
			default:
				want = append(want, wantedValue{index, Other, ""})
			}
		}
	}
	return want
}

var (
	decimalGrammar = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)
	largeExponent  = regexp.MustCompile(`[eE][+-]?0*[0-9]{4,}`)
)

// referenceTime resolves a computed_time with rational numbers.
func referenceTime(v any, stamp time.Time) (micros int64, issue TimeIssue, tooLarge bool) {
	var text string
	switch v := v.(type) {
	case nil:
		return stamp.UnixMicro(), TimeMissing, false
	case string:
		text = v
	case json.Number:
		text = v.String()
	default:
		return stamp.UnixMicro(), TimeUnreadable, false
	}
	if largeExponent.MatchString(text) {
		return 0, TimeOK, true
	}
	var at time.Time
	if decimalGrammar.MatchString(text) {
		n, _ := new(big.Rat).SetString(text)
		size := new(big.Rat).Abs(n)
		scale := int64(1)
		if size.Cmp(big.NewRat(1e11, 1)) < 0 {
			scale = 1e6
		} else if size.Cmp(big.NewRat(1e14, 1)) < 0 {
			scale = 1e3
		}
		n.Mul(n, big.NewRat(scale, 1))
		whole := new(big.Int).Quo(n.Num(), n.Denom())
		if !whole.IsInt64() {
			if n.Sign() < 0 {
				return stamp.UnixMicro(), TimeAncient, false
			}
			return stamp.UnixMicro(), TimeAhead, false
		}
		at = time.UnixMicro(whole.Int64())
	} else {
		var err error
		if at, err = time.Parse(time.RFC3339Nano, text); err != nil || at.UnmarshalText([]byte(text)) != nil {
			return stamp.UnixMicro(), TimeUnreadable, false
		}
	}
	switch {
	case at.Before(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)):
		return stamp.UnixMicro(), TimeAncient, false
	case at.Truncate(time.Microsecond).After(stamp.Add(5 * time.Minute)):
		return stamp.UnixMicro(), TimeAhead, false
	default:
		return at.UnixMicro(), TimeOK, false
	}
}

// soundText says that no string of the record can hold broken text.
func soundText(value []byte) bool {
	return utf8.Valid(value) && !bytes.Contains(bytes.ToLower(value), []byte(`\ud`))
}
