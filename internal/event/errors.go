package event

import "fmt"

// Reason is why a record cannot be decoded. The set is small and fixed, so
// that it can label a metric and a dead letter.
type Reason uint8

// The reasons. Broken JSON comes before all others: a record is NotJSON or
// TooDeep whatever else is wrong with it. Then they go by the order below.
const (
	// NotJSON is a text that encoding/json refuses too, a leading byte order
	// mark and anything after the object included.
	NotJSON Reason = iota + 1
	// TooDeep is nesting deeper than 10,000 levels, the limit of encoding/json.
	TooDeep
	// NotAnObject is any other JSON value, a bare array of users included.
	NotAnObject
	// NoCohortID is a cohort_id that is missing, empty or not a string.
	NoCohortID
	// BadCohortID is a cohort_id of only white space, with control characters,
	// of invalid UTF-8, or longer than 255 bytes.
	BadCohortID
	// InCohortMissing is an in_cohort that is missing or null.
	InCohortMissing
	// InCohortNotBoolean is an in_cohort that is neither true nor false.
	InCohortNotBoolean
	// NoUsers is a users that is missing, null or not an array.
	NoUsers
	// BadUser is an element of users that is not an object.
	BadUser
)

// Reasons returns every reason.
func Reasons() []Reason {
	return []Reason{
		NotJSON, TooDeep, NotAnObject, NoCohortID, BadCohortID,
		InCohortMissing, InCohortNotBoolean, NoUsers, BadUser,
	}
}

// String returns the reason as it stands in metrics and dead letters.
func (r Reason) String() string {
	switch r {
	case NotJSON:
		return "not_json"
	case TooDeep:
		return "too_deep"
	case NotAnObject:
		return "not_an_object"
	case NoCohortID:
		return "no_cohort_id"
	case BadCohortID:
		return "bad_cohort_id"
	case InCohortMissing:
		return "in_cohort_missing"
	case InCohortNotBoolean:
		return "in_cohort_not_boolean"
	case NoUsers:
		return "no_users"
	case BadUser:
		return "bad_user"
	default:
		return "unknown"
	}
}

// DecodeError says why a record cannot be decoded. It never quotes the record,
// which holds users' data.
type DecodeError struct {
	Reason Reason
	// Offset is the place in the record's value, in bytes: that of the value
	// at fault or, where something is missing, that of the end of the object.
	Offset int
	// Expected is what should have been there.
	Expected string
}

func (e *DecodeError) Error() string {
	return fmt.Sprintf("%s: expected %s at byte %d", e.Reason, e.Expected, e.Offset)
}
