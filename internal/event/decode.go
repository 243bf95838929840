package event

import (
	"time"
	"unicode/utf8"
)

// maxCohortID is how long a cohort's id may be, in bytes. Amplitude's have 8
// characters; the id becomes part of a Kafka key and of every request.
const maxCohortID = 255

// The buffers that a decoder keeps from one record to the next hold a record
// of about this many users; what a larger one needed is given back.
const (
	keepEntries = 4096
	keepText    = 256 << 10
)

// Decoder decodes records, looking for the values at a fixed set of paths. It
// reuses its buffers and allocates nothing once they have grown. It is not
// safe for concurrent use.
type Decoder struct {
	scanner
	paths node
	event Event
	// fields is what the record being decoded has shown so far.
	fields fields
	users  []User
	values []Value
	// slots has the values of each path within the user being decoded.
	slots [][]Value
	// copied holds strings that had to be unescaped, and keyText the last key.
	copied  []byte
	keyText []byte
}

// fields are the fields of the payload as they stand in the record. Where a
// key is repeated the last one wins, so a fault counts only once the whole
// object has been read.
type fields struct {
	cohortID, cohortName, messageID Value
	// computedTime is the text of a string or a number; timed says that there
	// is a computed_time at all.
	computedTime []byte
	timed        bool
	inCohort     byte
	cohortIDAt   int
	inCohortAt   int
	// usersAt is where the array of users begins, when hasUsers.
	usersAt  int
	hasUsers bool
	// badUserAt is where the first element that is no object begins, or 0.
	badUserAt int
	end       int
}

// NewDecoder returns a decoder for those paths. They come from ParsePath, and
// may be none.
func NewDecoder(paths []Path) *Decoder {
	return &Decoder{paths: newTree(paths), slots: make([][]Value, len(paths))}
}

// Decode decodes one record, whose Kafka timestamp is recordTime. The event
// and all that it points to may alias value and are valid until the next call.
// An error is always a *DecodeError.
//
// Repeated keys: the last one wins, wholly, as in encoding/json's maps.
// Unknown fields are passed over, but have to be valid JSON too.
func (d *Decoder) Decode(value []byte, recordTime time.Time) (*Event, error) {
	d.reset(value)
	if err := d.document(); err != nil {
		return nil, err
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	f := &d.fields
	ev := &d.event
	ev.CohortID, ev.CohortName, ev.MessageID = f.cohortID.Bytes, f.cohortName.Bytes, f.messageID.Bytes
	ev.InCohort, ev.Users = f.inCohort == 't', d.users
	ev.Time, ev.TimeIssue = recordTime.UnixMicro(), TimeMissing
	if f.timed {
		ev.Time, ev.TimeIssue = resolveTime(f.computedTime, ev.Time)
	}
	return ev, nil
}

// reset forgets the last record. It clears what pointed into it, so that a
// decoder keeps no record but its last one in memory.
func (d *Decoder) reset(value []byte) {
	d.data = value
	d.failure = DecodeError{}
	d.book.last = 0
	d.fields = fields{}
	d.users = emptied(d.users)
	d.values = emptied(d.values)
	for i, slot := range d.slots {
		if len(slot) > 0 || cap(slot) > keepEntries {
			d.slots[i] = emptied(slot[:cap(slot)])
		}
	}
	if d.copied = d.copied[:0]; cap(d.copied) > keepText {
		d.copied = nil
	}
	if cap(d.keyText) > keepText {
		d.keyText = nil
	}
}

func emptied[T any](s []T) []T {
	if cap(s) > keepEntries {
		return nil
	}
	clear(s)
	return s[:0]
}

// document reads the whole text into fields.
func (d *Decoder) document() error {
	i := d.space(0)
	isObject := d.at(i) == '{'
	if isObject {
		i = d.payload(i)
	} else if i = d.skip(i, 0); len(d.data) >= 3 && string(d.data[:3]) == "\ufeff" {
		i = d.fail(0, NotJSON, "no byte order mark")
	}
	if i < 0 {
		return d.failed()
	}
	d.fields.end = i
	if i = d.space(i); i < len(d.data) {
		d.fail(i, NotJSON, "nothing after the JSON value")
		return d.failed()
	}
	if !isObject {
		d.fail(d.space(0), NotAnObject, "a JSON object")
		return d.failed()
	}
	return nil
}

// failed returns the failure, in memory of its own.
func (d *Decoder) failed() error {
	failure := d.failure
	return &failure
}

// payload reads the object whose brace is at i.
func (d *Decoder) payload(i int) int {
	if i = d.space(i + 1); d.at(i) == '}' {
		return i + 1
	}
	for more := true; more; {
		var key token
		if key, i = d.key(i); i < 0 {
			return i
		}
		if i = d.field(d.name(key), i); i < 0 {
			return i
		}
		i, more = d.next(i, true)
	}
	return i
}

// field reads the value of one field of the payload.
func (d *Decoder) field(name []byte, at int) (i int) {
	f := &d.fields
	switch string(name) {
	case "cohort_id":
		f.cohortIDAt = at
		f.cohortID, i = d.value(at, 1)
	case "cohort_name":
		f.cohortName, i = d.value(at, 1)
		f.cohortName.onlyText()
	case "message_id":
		f.messageID, i = d.value(at, 1)
		f.messageID.onlyText()
	case "in_cohort":
		f.inCohortAt = at
		f.inCohort = d.at(at)
		i = d.skip(at, 1)
	case "computed_time":
		var v Value
		if v, i = d.value(at, 1); i < 0 {
			return i
		}
		f.timed = v.Kind != absent
		f.computedTime = v.Bytes
		if v.Kind == Other && d.data[i-1]-'0' <= 9 {
			// Only a number ends in a digit.
			f.computedTime = d.data[at:i]
		}
	case "users":
		f.usersAt, f.hasUsers, f.badUserAt = at, d.at(at) == '[', 0
		d.users, d.values = emptied(d.users), emptied(d.values)
		if !f.hasUsers {
			return d.skip(at, 1)
		}
		return d.members(at)
	default:
		return d.skip(at, 1)
	}
	return i
}

// value reads any value. depth is how many arrays and objects are around it.
func (d *Decoder) value(i, depth int) (v Value, after int) {
	switch c := d.at(i); c {
	case '"':
		t, after := d.text(i + 1)
		if after < 0 {
			return v, after
		}
		v.Kind = String
		v.Bytes, v.Invalid = d.unescaped(t)
		return v, after
	case 'n':
		return v, d.literal(i, "null")
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		after, whole := d.number(i)
		if v.Kind = Other; whole && after >= 0 {
			v.Kind, v.Bytes = Integer, d.data[i:after:after]
		}
		return v, after
	default:
		v.Kind = Other
		return v, d.skip(i, depth)
	}
}

// unescaped returns the text of a string. It aliases the record unless the
// text differs from what stands there.
func (d *Decoder) unescaped(t token) (text []byte, invalid bool) {
	raw := d.data[t.start:t.end:t.end]
	if !t.escaped && (!t.wide || utf8.Valid(raw)) {
		return raw, false
	}
	first := len(d.copied)
	d.copied, invalid = unescape(d.copied, raw)
	return d.copied[first:len(d.copied):len(d.copied)], invalid
}

// name returns a key to compare with. Keys of invalid UTF-8 match nothing, for
// no wanted name holds U+FFFD.
func (d *Decoder) name(key token) []byte {
	raw := d.data[key.start:key.end]
	if !key.escaped {
		return raw
	}
	d.keyText, _ = unescape(d.keyText[:0], raw)
	return d.keyText
}

// onlyText drops what is not a string.
func (v *Value) onlyText() {
	if v.Kind != String {
		*v = Value{}
	}
}
