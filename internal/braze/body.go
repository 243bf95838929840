package braze

import (
	"time"
	"unicode/utf8"

	"cohortsync/internal/catalog"
)

// nameBody is the request that names a cohort. All fields are strings that
// Braze requires, and the year has four digits, as RFC 3339 wants it.
func nameBody(k *credentials, n Naming) []byte {
	b := make([]byte, 0, 256+len(n.Name))
	b = appendCredentials(b, k)
	b = append(b, `,"cohort_id":`...)
	b = appendString(b, n.CohortID)
	b = append(b, `,"name":`...)
	b = appendString(b, n.Name)
	b = append(b, `,"created_at":"`...)
	created := n.CreatedAt.UTC()
	if created.Year() < 0 || created.Year() > 9999 {
		created = time.Unix(0, 0).UTC()
	}
	b = created.AppendFormat(b, time.RFC3339)
	return append(b, `"}`...)
}

// membersBody is the request that changes a cohort's members: one object for
// those who enter, one for those who leave, each with all three arrays, as
// Segment's integration sends them. Without items it has no object.
func membersBody(k *credentials, cohortID string, items []Item) []byte {
	size := 512
	for i := range items {
		size += len(items[i].Identifier.Value) + len(`"",`)
		if label := items[i].Identifier.Label; label != "" {
			size += len(label) + len(`{"alias_name":,"alias_label":""}`)
		}
	}
	b := make([]byte, 0, size)
	b = appendCredentials(b, k)
	b = append(b, `,"cohort_id":`...)
	b = appendString(b, cohortID)
	b = append(b, `,"cohort_changes":[`...)
	removes := 0
	for i := range items {
		if items[i].Remove {
			removes++
		}
	}
	if removes < len(items) {
		b = appendChange(b, items, false)
		b = append(b, '}')
	}
	if removes > 0 {
		if removes < len(items) {
			b = append(b, ',')
		}
		b = appendChange(b, items, true)
		b = append(b, `,"should_remove":true}`...)
	}
	return append(b, `]}`...)
}

// appendChange appends an object, left open, of the items of one direction.
func appendChange(b []byte, items []Item, remove bool) []byte {
	b = append(b, `{"user_ids":[`...)
	b = appendKind(b, items, remove, catalog.ExternalID)
	b = append(b, `],"device_ids":[`...)
	b = appendKind(b, items, remove, catalog.DeviceID)
	b = append(b, `],"aliases":[`...)
	b = appendKind(b, items, remove, catalog.UserAlias)
	return append(b, ']')
}

func appendKind(b []byte, items []Item, remove bool, kind catalog.Kind) []byte {
	first := true
	for i := range items {
		id := &items[i].Identifier
		if items[i].Remove != remove || id.Kind != kind {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		if kind != catalog.UserAlias {
			b = appendString(b, id.Value)
			continue
		}
		b = append(b, `{"alias_name":`...)
		b = appendString(b, id.Value)
		b = append(b, `,"alias_label":`...)
		b = appendString(b, id.Label)
		b = append(b, '}')
	}
	return b
}

func appendCredentials(b []byte, k *credentials) []byte {
	b = append(b, `{"partner_api_key":`...)
	b = appendString(b, k.partner)
	b = append(b, `,"client_secret":`...)
	return appendString(b, k.api)
}

// isPlain says that a string needs no escape and no look at its UTF-8, by eight
// bytes at a time. In each term a byte's high bit is set where the byte is the
// one, or below the space; a borrow may set another's too, and then the string
// is looked at byte by byte for nothing.
func isPlain(s string) bool {
	const lows, highs = 0x0101010101010101, 0x8080808080808080
	if len(s) < 8 {
		for i := range len(s) {
			if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
				return false
			}
		}
		return true
	}
	var found uint64
	for i := 0; i < len(s); i += 8 {
		i = min(i, len(s)-8) // The last eight may have been looked at before.
		w := eight(s[i:])
		quote, slash, del := w^lows*'"', w^lows*'\\', w^lows*0x7f
		found |= w | (quote-lows)&^quote | (slash-lows)&^slash | (del-lows)&^del | (w-lows*' ')&^w
	}
	return found&highs == 0
}

// eight returns the first eight bytes, which the compiler reads in one go.
func eight(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// appendString appends a JSON string. What is not UTF-8 becomes U+FFFD.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	if isPlain(s) {
		return append(append(b, s...), '"')
	}
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				b = append(append(b, s[start:i]...), `\ufffd`...)
				start = i + 1
			}
			i += size
			continue
		}
		if c < ' ' || c == '"' || c == '\\' || c == 0x7f {
			b = append(b, s[start:i]...)
			if c == '"' || c == '\\' {
				b = append(b, '\\', c)
			} else {
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
			start = i + 1
		}
		i++
	}
	return append(append(b, s[start:]...), '"')
}
