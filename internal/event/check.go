package event

import (
	"unicode"
	"unicode/utf8"
)

// check says what the record lacks.
func (d *Decoder) check() error {
	f := &d.fields
	switch id := f.cohortID; {
	case id.Kind == absent:
		d.fail(f.end, NoCohortID, "cohort_id, a non-empty string")
	case id.Kind != String, len(id.Bytes) == 0:
		d.fail(f.cohortIDAt, NoCohortID, "cohort_id to be a non-empty string")
	case id.Invalid, len(id.Bytes) > maxCohortID, !printable(id.Bytes):
		d.fail(f.cohortIDAt, BadCohortID,
			"cohort_id to be at most 255 bytes of UTF-8 without control characters, and not all white space")
	case f.inCohort == 0, f.inCohort == 'n':
		d.fail(f.end, InCohortMissing, "in_cohort, true or false")
	case f.inCohort != 't' && f.inCohort != 'f':
		d.fail(f.inCohortAt, InCohortNotBoolean, "in_cohort to be true or false, without quotes")
	case !f.hasUsers:
		d.fail(f.end, NoUsers, "users, an array")
	case f.badUserAt > 0:
		d.fail(f.badUserAt, BadUser, "each user to be an object")
	default:
		return nil
	}
	return d.failed()
}

// printable says that a text holds no control character, and something else
// than white space.
func printable(text []byte) bool {
	blank := true
	for i := 0; i < len(text); {
		r, size := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(text[i:])
		}
		if unicode.IsControl(r) {
			return false
		}
		blank = blank && unicode.IsSpace(r)
		i += size
	}
	return !blank
}
