package event

import (
	"errors"
	"time"
)

var errKeep = errors.New("cutting a payload: the indexes of the users are not ascending or past the last user")

// Cut returns the same payload with only the users at the given indexes, which
// ascend. Those users and all other fields, unknown ones too, stay byte for
// byte as they were; only white space between users is lost. Where the key
// users is repeated, it is the last one, the one that counts, that is cut. The
// error is a *DecodeError where the payload cannot be decoded.
func Cut(value []byte, keep []int) ([]byte, error) {
	d := NewDecoder(nil)
	if _, err := d.Decode(value, time.Time{}); err != nil {
		return nil, err
	}
	out := append(make([]byte, 0, len(value)), value[:d.fields.usersAt+1]...)
	// The payload is known to be sound: nothing below can fail.
	i := d.space(d.fields.usersAt + 1)
	kept, more := 0, len(d.users) > 0
	if !more {
		i++
	}
	for user := 0; more; user++ {
		end := d.skip(i, 2)
		if kept < len(keep) && keep[kept] == user {
			if kept > 0 {
				out = append(out, ',')
			}
			out = append(out, value[i:end]...)
			kept++
		}
		i, more = d.next(end, false)
	}
	if kept < len(keep) {
		return nil, errKeep
	}
	out = append(out, ']')
	return append(out, value[i:]...), nil
}
