package event

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// Payload is an event to write, for what produces events: generators and
// tests.
type Payload struct {
	CohortID   string
	CohortName string
	InCohort   bool
	// ComputedTime is written as epoch seconds in a string, as Amplitude does,
	// down to the microsecond; the zero time is left out. It is not before 1970.
	ComputedTime time.Time
	// MessageID is left out when empty.
	MessageID string
	Users     []Member
}

// Member is one user of a Payload. What is empty is left out.
type Member struct {
	UserID string
	// DeviceIDs is written as a string when it holds one, else as an array.
	DeviceIDs  []string
	Properties []Property
}

// Property is one of a member's user properties.
type Property struct {
	Name, Value string
}

// AppendJSON appends the payload to dst.
func (p *Payload) AppendJSON(dst []byte) []byte {
	dst = appendString(append(dst, `{"cohort_id":`...), p.CohortID)
	dst = appendString(append(dst, `,"cohort_name":`...), p.CohortName)
	dst = strconv.AppendBool(append(dst, `,"in_cohort":`...), p.InCohort)
	if !p.ComputedTime.IsZero() {
		dst = appendSeconds(append(dst, `,"computed_time":"`...), p.ComputedTime)
		dst = append(dst, '"')
	}
	if p.MessageID != "" {
		dst = appendString(append(dst, `,"message_id":`...), p.MessageID)
	}
	dst = append(dst, `,"users":[`...)
	for i := range p.Users {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = p.Users[i].appendJSON(dst)
	}
	return append(dst, "]}"...)
}

func (m *Member) appendJSON(dst []byte) []byte {
	dst = append(dst, '{')
	first := len(dst)
	if m.UserID != "" {
		dst = appendString(append(dst, `"user_id":`...), m.UserID)
	}
	if len(m.DeviceIDs) > 0 {
		dst = append(comma(dst, first), `"device_id":`...)
		if len(m.DeviceIDs) == 1 {
			dst = appendString(dst, m.DeviceIDs[0])
		} else {
			dst = append(dst, '[')
			for i, id := range m.DeviceIDs {
				if i > 0 {
					dst = append(dst, ',')
				}
				dst = appendString(dst, id)
			}
			dst = append(dst, ']')
		}
	}
	if len(m.Properties) > 0 {
		dst = append(comma(dst, first), `"user_properties":{`...)
		start := len(dst)
		for _, p := range m.Properties {
			dst = appendString(comma(dst, start), p.Name)
			dst = appendString(append(dst, ':'), p.Value)
		}
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

// comma appends a comma unless dst ends at first, where the first one stands.
func comma(dst []byte, first int) []byte {
	if len(dst) > first {
		dst = append(dst, ',')
	}
	return dst
}

func appendSeconds(dst []byte, t time.Time) []byte {
	micros := t.UnixMicro()
	dst = strconv.AppendInt(dst, micros/1e6, 10)
	if fraction := micros % 1e6; fraction > 0 {
		dst = append(dst, '.')
		for unit := int64(1e5); fraction > 0; unit /= 10 {
			dst = append(dst, '0'+byte(fraction/unit))
			fraction %= unit
		}
	}
	return dst
}

// appendString appends s as a JSON string, with U+FFFD for invalid UTF-8.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"', r == '\\':
			dst = append(dst, '\\', byte(r))
		case r < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&0xf])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}
