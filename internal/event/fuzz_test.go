package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

// stamp is the Kafka timestamp of records in tests: shortly after the
// computed_time of the payload in the design.
var stamp = time.Unix(1692206800, 123_000_000).UTC()

// fuzzPaths has a path that is twice there, one that leads through another,
// and more than one level.
var fuzzPaths = []string{"user_id", "device_id", "user_properties.crm_id", "user_properties", "user_id", "user_properties.a.b", "é"}

func FuzzDecode(f *testing.F) {
	for _, seed := range seeds() {
		f.Add([]byte(seed))
	}
	paths := pathsOf(f, fuzzPaths...)
	d := NewDecoder(paths)
	f.Fuzz(func(t *testing.T, value []byte) {
		before := bytes.Clone(value)
		got, err := d.Decode(value, stamp)
		require.Equal(t, before, value, "the record was written to")
		compare(t, value, got, err, reference(value, stamp, paths))
	})
}

// compare holds a decoded event against the reference.
func compare(t *testing.T, value []byte, got *Event, err error, want wantedEvent) {
	t.Helper()
	if failure, ok := errors.AsType[*DecodeError](err); ok {
		require.LessOrEqual(t, failure.Offset, len(value))
		switch {
		case failure.Reason == TooDeep:
			require.Equal(t, NotJSON, want.reason)
		case failure.Reason == BadCohortID && want.reason != BadCohortID:
			// The reference takes an id of broken text for what it becomes; the
			// decoder refuses it.
			require.False(t, soundText(value))
		default:
			require.Equal(t, want.reason, failure.Reason)
		}
		return
	}
	require.NoError(t, err)
	require.Zero(t, want.reason)
	require.Equal(t, want.id, string(got.CohortID))
	require.Equal(t, want.name, string(got.CohortName))
	require.Equal(t, want.message, string(got.MessageID))
	require.Equal(t, want.in, got.InCohort)
	if !want.exponentTooLargeToTry {
		require.Equal(t, want.issue, got.TimeIssue)
		require.Equal(t, want.micros, got.Time)
	}
	require.Empty(t, cmp.Diff(want.users, usersOf(t, value, got), cmp.AllowUnexported(wantedValue{})))
}

// usersOf writes the users of an event as the reference does.
func usersOf(t *testing.T, value []byte, e *Event) (users []wantedUser) {
	t.Helper()
	for _, u := range e.Users {
		var user wantedUser
		for _, v := range u.Values {
			if v.Invalid {
				require.Equal(t, String, v.Kind)
				require.True(t, bytes.ContainsRune(v.Bytes, '\ufffd'))
				require.False(t, soundText(value))
			}
			user = append(user, wantedValue{v.Path, v.Kind, string(v.Bytes)})
		}
		users = append(users, user)
	}
	return users
}

func FuzzCut(f *testing.F) {
	for i, seed := range seeds() {
		f.Add([]byte(seed), uint64(i)*0x9e3779b97f4a7c15)
	}
	paths := pathsOf(f, fuzzPaths...)
	f.Fuzz(func(t *testing.T, value []byte, bits uint64) {
		whole, err := NewDecoder(paths).Decode(value, stamp)
		if err != nil {
			_, cutErr := Cut(value, nil)
			require.Equal(t, err, cutErr)
			return
		}
		var keep []int
		var kept []User
		for i := range whole.Users {
			if bits>>(i%64)&1 == 1 {
				keep = append(keep, i)
				kept = append(kept, whole.Users[i])
			}
		}
		out, err := Cut(value, keep)
		require.NoError(t, err)
		require.LessOrEqual(t, len(out), len(value))
		part, err := NewDecoder(paths).Decode(out, stamp)
		require.NoError(t, err)

		want := *whole
		want.Users = kept
		require.Equal(t, usersOf(t, value, &want), usersOf(t, out, part))
		want.Users, part.Users = nil, nil
		require.Equal(t, &want, part)
		require.Equal(t, otherFields(t, value), otherFields(t, out))
		again, err := Cut(out, upTo(len(keep)))
		require.NoError(t, err)
		require.Equal(t, out, again, "a cut payload is cut already")
	})
}

func upTo(n int) (all []int) {
	for i := range n {
		all = append(all, i)
	}
	return all
}

// otherFields returns the fields of a payload other than users, as they stand
// there.
func otherFields(t *testing.T, value []byte) map[string]string {
	t.Helper()
	var raw map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(value, &raw))
	delete(raw, "users")
	fields := make(map[string]string, len(raw))
	for k, v := range raw {
		fields[k] = string(v)
	}
	return fields
}

// seeds are what fuzzing starts from: a sound payload, and its fields in all
// their forms, sound and not.
func seeds() []string {
	seeds := []string{
		webhook, "", " ", "{}", "[]", "null", "\ufeff{}", webhook + "{}", webhook + " \n", "{\"a\":\"\x00\"}", strings.Repeat("[", 10_001),
		`[` + webhook + `]`, `{"a":tru}`, `{"a":1.}`, `{"a":01}`, `{"a":-}`, `{"a":1e}`, `{"a":"\x"}`, `{"a":"\u12g4"}`, `{"a":"`, `{"a",1}`, `{"a":1,}`, `{"a":[1,]}`, `{1:2}`, `[}`, `{"a":{]}`,
	}
	field := func(name, value string) string {
		return `{"cohort_id":"c","in_cohort":true,"users":[{}],"` + name + `":` + value + `}`
	}
	for _, v := range []string{`""`, `" "`, `"a\u0000"`, `"\ud800"`, "\"\xff\"", `7`, `null`, `"` + strings.Repeat("x", 256) + `"`, `"\u00e9\ud83d\ude00"`} {
		seeds = append(seeds, field("cohort_id", v), field("cohort_name", v), field("message_id", v), field(`cohort\u005fid`, v))
	}
	for _, v := range []string{`"true"`, `false`, `null`, `1`, `{}`} {
		seeds = append(seeds, field("in_cohort", v))
	}
	for _, v := range []string{
		`1692206763`, `"1692206763.123456789"`, `1692206763123`, `1692206763123456`, `1.692206763e9`, `1692206763E-0`, `"2023-08-16T17:26:03.5+02:00"`, `"2023-08-16"`,
		`9e99`, `-9e99`, `1e-99`, `0`, `-0.0`, `true`, `[]`, `{"a":[7]}`, `""`, `null`, `99999999999`, `100000000000`, `1e14`, `1e999999999999999999999`,
	} {
		seeds = append(seeds, field("computed_time", v))
	}
	for _, v := range []string{
		`null`, `{}`, `[]`, `[ ]`, `[1]`, `[{},null]`, `[ {"user_id":"a"} , {"device_id":["x",1,null,2.5,["y"],{}]} ]`,
		`[{"user_id":"a","user_id":null},{"user_properties":{"crm_id":"x"},"user_properties":{"a":{"b":-12}}}]`,
		`[{"user_properties":"x"},{"user_properties":["x",{"crm_id":"y"}]},{"user_properties":{"a":[{"b":1}]}}]`,
		`[{"\u00e9":"\u0041\n\/","é":"\udc00\ud83d\ude00"},{"user_id":"a\u2028` + "\xc3\x28" + `"}]`, `[{"device_id":["a","b"],"device_id":["c"]}]`,
	} {
		seeds = append(seeds, field("users", v))
	}
	return seeds
}

// webhook is the payload of the design, as Amplitude writes it.
const webhook = `{"cohort_id":"7khm89cz","cohort_name":"High LTV","in_cohort":true,"computed_time":"1692206763",
 "message_id":"9baaa88f::enter::0",
 "users":[{"user_id":"u1","device_id":"d1","user_properties":{"crm_id":"C-1"}}]}`
