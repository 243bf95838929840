// Package event decodes, cuts and writes the cohort membership payload that
// Amplitude's cohort webhook and its stream destinations deliver: one JSON
// object for each record, with one to thousands of users who entered or left
// one cohort.
//
// Every message of a busy topic passes through here, so the decoder is a
// purpose-made scanner. It accepts exactly the texts that encoding/json
// accepts, and fuzzing holds it to that.
package event

// Event is one decoded record: these users entered the cohort, or left it, at
// this time. Its slices belong to the Decoder, or alias the record's value.
type Event struct {
	// CohortID is not empty, at most 255 bytes, valid UTF-8 without control
	// characters.
	CohortID []byte
	// CohortName is empty when the record has none, or one that is no string.
	CohortName []byte
	// InCohort is true for users who entered and false for those who left.
	InCohort bool
	// Time is what changes are ordered by, in microseconds since the epoch:
	// the record's computed_time or, when TimeIssue says so, its Kafka
	// timestamp.
	Time int64
	// TimeIssue says why the Kafka timestamp stands in for computed_time.
	TimeIssue TimeIssue
	// MessageID is Amplitude's id of the delivery, empty when there is none.
	MessageID []byte
	// Users may be empty: Amplitude sends empty batches.
	Users []User
}

// User holds what the wanted paths lead to in one user's object.
type User struct {
	// Values are in the order of their paths, and those of one path in the
	// order of the record. A path that is absent or null has none; one that
	// leads to an array has one for each element that is not null.
	Values []Value
}

// Value is one value at a wanted path.
type Value struct {
	// Bytes is the unescaped text of a String, the digits of an Integer as
	// they stand in the record, and nil for anything else.
	Bytes []byte
	// Path is the index of the path among those given to NewDecoder.
	Path int
	Kind ValueKind
	// Invalid marks a String that held invalid UTF-8 or half a surrogate pair.
	// Bytes has U+FFFD in their place, so it is not the same identifier.
	Invalid bool
}

// ValueKind is what kind of JSON value was found.
type ValueKind uint8

// The kinds of value. Null is none of them: it counts as absent.
const (
	absent ValueKind = iota
	String
	// Integer is a number without fraction and exponent, of any size.
	Integer
	// Other cannot be an identifier: a boolean, an object, a number with a
	// fraction or an exponent, an array within an array.
	Other
)

// TimeIssue says why a record's computed_time is not used.
type TimeIssue uint8

// The issues with a computed_time.
const (
	// TimeOK means that computed_time is used.
	TimeOK TimeIssue = iota
	// TimeMissing means that there is none, or null.
	TimeMissing
	// TimeUnreadable means that it is neither a decimal number nor RFC 3339.
	TimeUnreadable
	// TimeAhead means that it is more than 5 minutes after the record's Kafka
	// timestamp.
	TimeAhead
	// TimeAncient means that it is before the year 2000.
	TimeAncient
)

// TimeIssues returns every issue but TimeOK.
func TimeIssues() []TimeIssue {
	return []TimeIssue{TimeMissing, TimeUnreadable, TimeAhead, TimeAncient}
}

// String returns the issue as it stands in metrics and logs.
func (t TimeIssue) String() string {
	switch t {
	case TimeOK:
		return "none"
	case TimeMissing:
		return "missing"
	case TimeUnreadable:
		return "unreadable"
	case TimeAhead:
		return "ahead"
	case TimeAncient:
		return "ancient"
	default:
		return "unknown"
	}
}

// Wrong says that the producer wrote a computed_time that cannot be right. A
// missing one is not wrong: it is optional.
func (t TimeIssue) Wrong() bool { return t > TimeMissing }
