package event

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// payload is a sound record in which one field, sound too, may be replaced.
func payload(replace ...string) []byte {
	fields := []string{"cohort_id", `"c"`, "in_cohort", "true", "computed_time", `"1692206763"`, "users", `[{"user_id":"u"}]`}
	for i := 0; i < len(fields); i += 2 {
		if len(replace) > 0 && fields[i] == replace[0] {
			fields[i+1] = replace[1]
		}
	}
	var members []string
	for i := 0; i < len(fields); i += 2 {
		if fields[i+1] != "" {
			members = append(members, fmt.Sprintf("%q:%s", fields[i], fields[i+1]))
		}
	}
	return []byte("{" + strings.Join(members, ",") + "}")
}

func TestDecodeReadsAmplitudesPayload(t *testing.T) {
	t.Parallel()
	got, err := NewDecoder(pathsOf(t, "user_id", "device_id", "user_properties.crm_id")).Decode([]byte(webhook), stamp)
	require.NoError(t, err)
	require.Equal(t, &Event{
		CohortID: []byte("7khm89cz"), CohortName: []byte("High LTV"), InCohort: true,
		Time: 1692206763_000_000, TimeIssue: TimeOK, MessageID: []byte("9baaa88f::enter::0"),
		Users: []User{{Values: []Value{
			{Path: 0, Kind: String, Bytes: []byte("u1")},
			{Path: 1, Kind: String, Bytes: []byte("d1")},
			{Path: 2, Kind: String, Bytes: []byte("C-1")},
		}}},
	}, got)
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		value  []byte
		reason Reason
	}{
		"an empty value":                      {[]byte(""), NotJSON},
		"white space only":                    {[]byte(" \n"), NotJSON},
		"a text that is not JSON":             {[]byte("hello"), NotJSON},
		"binary":                              {[]byte{0, 0, 0, 0, 7}, NotJSON},
		"an object that ends too early":       {payload()[:40], NotJSON},
		"an object followed by something":     {append(payload(), '1'), NotJSON},
		"a byte order mark":                   {append([]byte("\ufeff"), payload()...), NotJSON},
		"broken JSON in an unknown field":     {[]byte(`{"cohort_id":"c","in_cohort":true,"users":[],"x":[01]}`), NotJSON},
		"broken JSON after a bad field":       {[]byte(`{"cohort_id":1,"users":`), NotJSON},
		"a raw line break within a string":    {payload("cohort_id", "\"a\nb\""), NotJSON},
		"an array of users":                   {[]byte(`[{"user_id":"u"}]`), NotAnObject},
		"a string":                            {[]byte(`"hello"`), NotAnObject},
		"null":                                {[]byte("null"), NotAnObject},
		"another shape":                       {[]byte(`{"id":1,"name":"x"}`), NoCohortID},
		"no cohort_id":                        {payload("cohort_id", ""), NoCohortID},
		"a null cohort_id":                    {payload("cohort_id", "null"), NoCohortID},
		"an empty cohort_id":                  {payload("cohort_id", `""`), NoCohortID},
		"a number for cohort_id":              {payload("cohort_id", "7"), NoCohortID},
		"a key in other letter case":          {[]byte(`{"Cohort_ID":"c","in_cohort":true,"users":[]}`), NoCohortID},
		"a blank cohort_id":                   {payload("cohort_id", `" "`), BadCohortID},
		"a cohort_id with a control":          {payload("cohort_id", `"a\u0007"`), BadCohortID},
		"a cohort_id of 256 bytes":            {payload("cohort_id", `"`+strings.Repeat("x", 256)+`"`), BadCohortID},
		"a cohort_id that is not UTF-8":       {payload("cohort_id", "\"\xff\""), BadCohortID},
		"no in_cohort":                        {payload("in_cohort", ""), InCohortMissing},
		"a null in_cohort":                    {payload("in_cohort", "null"), InCohortMissing},
		"a string for in_cohort":              {payload("in_cohort", `"true"`), InCohortNotBoolean},
		"a number for in_cohort":              {payload("in_cohort", "1"), InCohortNotBoolean},
		"no users":                            {payload("users", ""), NoUsers},
		"null for users":                      {payload("users", "null"), NoUsers},
		"an object for users":                 {payload("users", "{}"), NoUsers},
		"a user that is a string":             {payload("users", `[{"user_id":"u"},"v"]`), BadUser},
		"a user that is null":                 {payload("users", `[null]`), BadUser},
		"arrays nested 10,000 deep in fields": {payload("users", strings.Repeat("[", 10_000)+strings.Repeat("]", 10_000)), TooDeep},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := NewDecoder(pathsOf(t, "user_id")).Decode(c.value, stamp)
			var failure *DecodeError
			require.ErrorAs(t, err, &failure)
			require.Equal(t, c.reason.String(), failure.Reason.String())
		})
	}
}

func TestDecodeNestsAsDeepAsEncodingJSON(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 9_999) + strings.Repeat("]", 9_999)
	_, err := NewDecoder(nil).Decode([]byte(`{"cohort_id":"c","in_cohort":true,"users":[],"x":`+deep+`}`), stamp)
	require.NoError(t, err)
}

func TestDecodeErrorTellsThePlaceAndNotTheContent(t *testing.T) {
	t.Parallel()
	_, err := NewDecoder(nil).Decode([]byte(`{"cohort_id":"c","in_cohort":"secret@example.com","users":[]}`), stamp)
	require.EqualError(t, err, "in_cohort_not_boolean: expected in_cohort to be true or false, without quotes at byte 29")
	_, err = NewDecoder(nil).Decode([]byte(`{"cohort_id":"secret@example.com`), stamp)
	require.EqualError(t, err, "not_json: expected no control character within a string, and its closing quote at byte 32")
}

func TestDecodeErrorOutlivesTheNextCall(t *testing.T) {
	t.Parallel()
	d := NewDecoder(nil)
	_, first := d.Decode([]byte("x"), stamp)
	text := first.Error()
	_, _ = d.Decode([]byte("{}"), stamp)
	require.EqualError(t, first, text)
}

func TestReasonsAndIssuesHaveNamesOfTheirOwn(t *testing.T) {
	t.Parallel()
	names := map[string]bool{"unknown": true}
	for _, r := range Reasons() {
		require.False(t, names[r.String()], r.String())
		names[r.String()] = true
	}
	require.Equal(t, "unknown", (Reasons()[len(Reasons())-1] + 1).String())
	for _, i := range TimeIssues() {
		require.False(t, names[i.String()], i.String())
		names[i.String()] = true
	}
	require.Equal(t, "unknown", (TimeIssues()[len(TimeIssues())-1] + 1).String())
}

func TestDecodeTakesEmptyUsers(t *testing.T) {
	t.Parallel()
	got, err := NewDecoder(pathsOf(t, "user_id")).Decode(payload("users", "[ ]"), stamp)
	require.NoError(t, err)
	require.Empty(t, got.Users)
}

func TestDecodeFindsValues(t *testing.T) {
	t.Parallel()
	paths := []string{"user_id", "device_id", "user_properties.crm_id"}
	text := func(path int, s string) Value { return Value{Path: path, Kind: String, Bytes: []byte(s)} }
	for name, c := range map[string]struct {
		user string
		want []Value
	}{
		"nobody":                        {`{}`, nil},
		"null":                          {`{"user_id":null,"device_id":[null]}`, nil},
		"in the order of the paths":     {`{"user_properties":{"crm_id":"c"},"device_id":"d","user_id":"u"}`, []Value{text(0, "u"), text(1, "d"), text(2, "c")}},
		"an array of devices":           {`{"device_id":["d1","d2"]}`, []Value{text(1, "d1"), text(1, "d2")}},
		"an array in a property":        {`{"user_properties":{"crm_id":["a",7]}}`, []Value{text(2, "a"), {Path: 2, Kind: Integer, Bytes: []byte("7")}}},
		"the last of repeated keys":     {`{"user_id":"a","user_id":"b","device_id":["a","b"],"device_id":["c"]}`, []Value{text(0, "b"), text(1, "c")}},
		"a null after a value":          {`{"user_id":"a","user_id":null}`, nil},
		"the last of repeated objects":  {`{"user_properties":{"crm_id":"a"},"user_properties":{"x":1}}`, nil},
		"escapes":                       {`{"user_\u0069d":"\u00e9\ud83d\ude00\/"}`, []Value{text(0, "é😀/")}},
		"integers of any size":          {`{"user_id":123456789012345678901234567890}`, []Value{{Kind: Integer, Bytes: []byte("123456789012345678901234567890")}}},
		"what cannot be an identifier":  {`{"user_id":1.5,"device_id":[true,{},[],1e3]}`, []Value{{Kind: Other}, {Path: 1, Kind: Other}, {Path: 1, Kind: Other}, {Path: 1, Kind: Other}, {Path: 1, Kind: Other}}},
		"half a surrogate pair":         {`{"user_id":"\ud800x"}`, []Value{{Kind: String, Bytes: []byte("\ufffdx"), Invalid: true}}},
		"invalid UTF-8":                 {"{\"user_id\":\"a\xffb\"}", []Value{{Kind: String, Bytes: []byte("a\ufffdb"), Invalid: true}}},
		"U+FFFD that was there already": {`{"user_id":"\ufffd"}`, []Value{text(0, "\ufffd")}},
		"not through an array":          {`{"user_properties":[{"crm_id":"c"}]}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := NewDecoder(pathsOf(t, paths...)).Decode(payload("users", "["+c.user+"]"), stamp)
			require.NoError(t, err)
			require.Len(t, got.Users, 1)
			require.Equal(t, c.want, append([]Value(nil), got.Users[0].Values...))
		})
	}
}

func TestDecodeTakesLargeRecords(t *testing.T) {
	t.Parallel()
	t.Run("10,000 users", func(t *testing.T) {
		t.Parallel()
		var users []string
		for i := range 10_000 {
			users = append(users, fmt.Sprintf(`{"user_id":"u%d"}`, i))
		}
		got, err := NewDecoder(pathsOf(t, "user_id")).Decode(payload("users", "["+strings.Join(users, ",")+"]"), stamp)
		require.NoError(t, err)
		require.Len(t, got.Users, 10_000)
		for i, u := range got.Users {
			require.Equal(t, fmt.Sprintf("u%d", i), string(u.Values[0].Bytes))
		}
	})
	t.Run("1 MB in one string", func(t *testing.T) {
		t.Parallel()
		long := strings.Repeat(`\u00e9`, 1<<18)
		got, err := NewDecoder(pathsOf(t, "user_id")).Decode(payload("users", `[{"user_id":"`+long+`"}]`), stamp)
		require.NoError(t, err)
		require.Equal(t, strings.Repeat("é", 1<<18), string(got.Users[0].Values[0].Bytes))
	})
}

func TestDecoderKeepsNoLargeBuffers(t *testing.T) {
	t.Parallel()
	d := NewDecoder(pathsOf(t, "device_id"))
	devices := strings.Repeat(`"\u0061",`, 60_000) + `"d"`
	long := `\u0061` + strings.Repeat("a", keepText)
	_, err := d.Decode(payload("users", `[{"device_id":[`+devices+`]}`+strings.Repeat(",{}", 60_000)+`,{"device_id":"`+long+`","`+long+`":1}]`), stamp)
	require.NoError(t, err)
	_, err = d.Decode(payload(), stamp)
	require.NoError(t, err)
	require.LessOrEqual(t, max(cap(d.users), cap(d.values), cap(d.slots[0])), keepEntries)
	require.LessOrEqual(t, max(cap(d.copied), cap(d.keyText)), keepText)
}

// A decoder lasts as long as its feed, and a record may have a megabyte.
func TestDecoderKeepsNoRecordButTheLast(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]string{
		"many values":     `[{"device_id":["a","b","c"]},{"device_id":["d"]}]`,
		"a repeated key":  `[{"device_id":["a","b","c"],"device_id":"d"}]`,
		"a broken record": `[{"device_id":["a","b","c"],`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := NewDecoder(pathsOf(t, "device_id"))
			_, _ = d.Decode(payload("users", first), stamp)
			_, err := d.Decode(payload("users", `[{}]`), stamp)
			require.NoError(t, err)
			for _, v := range append(d.slots[0][:cap(d.slots[0])], d.values[:cap(d.values)]...) {
				require.Nil(t, v.Bytes)
			}
		})
	}
}

func TestComputedTime(t *testing.T) {
	t.Parallel()
	const second = int64(1692206763_000_000)
	kafka := stamp.UnixMicro()
	for _, c := range []struct {
		json  string
		want  int64
		issue TimeIssue
	}{
		{`"1692206763"`, second, TimeOK},
		{`1692206763`, second, TimeOK},
		{`"1692206763.5"`, second + 500_000, TimeOK},
		{`1692206763.1234569`, second + 123_456, TimeOK},
		{`1.692206763e9`, second, TimeOK},
		{`"1692206763E+0"`, second, TimeOK},
		{`16922067630000e-4`, second, TimeOK},
		{`1692206763123`, second + 123_000, TimeOK},
		{`1692206763123.4`, second + 123_400, TimeOK},
		{`1692206763123456`, second + 123_456, TimeOK},
		{`1692206763123456.9`, second + 123_456, TimeOK},
		{`"2023-08-16T17:26:03Z"`, second, TimeOK},
		{`"2023-08-16T19:26:03.25+02:00"`, second + 250_000, TimeOK},
		{`946684800`, 946684800_000_000, TimeOK},
		{`946684799.999999`, kafka, TimeAncient},
		{`0`, kafka, TimeAncient},
		{`-1692206763`, kafka, TimeAncient},
		{`1e-400`, kafka, TimeAncient},
		{`"1999-12-31T23:59:59Z"`, kafka, TimeAncient},
		{`1692207100.123`, kafka + 300_000_000, TimeOK},
		{`1692207100.123001`, kafka, TimeAhead},
		{`99999999999`, kafka, TimeAhead},
		{`1e400`, kafka, TimeAhead},
		{`1e99999999999999999999`, kafka, TimeAhead},
		{`"yesterday"`, kafka, TimeUnreadable},
		{`""`, kafka, TimeUnreadable},
		{`" 1692206763"`, kafka, TimeUnreadable},
		{`"01692206763"`, kafka, TimeUnreadable},
		{`"0x64"`, kafka, TimeUnreadable},
		{`"2023-08-16"`, kafka, TimeUnreadable},
		{`true`, kafka, TimeUnreadable},
		{`{"at":1}`, kafka, TimeUnreadable},
		{`[1692206763]`, kafka, TimeUnreadable},
		{`null`, kafka, TimeMissing},
		{``, kafka, TimeMissing},
	} {
		t.Run(c.json, func(t *testing.T) {
			t.Parallel()
			got, err := NewDecoder(nil).Decode(payload("computed_time", c.json), stamp)
			require.NoError(t, err)
			require.Equal(t, c.issue.String(), got.TimeIssue.String())
			require.Equal(t, c.want, got.Time)
			require.Equal(t, c.issue > TimeMissing, c.issue.Wrong())
		})
	}
}

func TestNothingIsAheadOfARecordWithoutATimestamp(t *testing.T) {
	t.Parallel()
	for _, at := range []time.Time{{}, time.UnixMilli(-1), time.UnixMilli(0)} {
		got, err := NewDecoder(nil).Decode(payload(), at)
		require.NoError(t, err)
		require.Equal(t, int64(1692206763_000_000), got.Time)
	}
}

func TestParsePath(t *testing.T) {
	t.Parallel()
	p, err := ParsePath("user_properties.crm_id")
	require.NoError(t, err)
	require.Equal(t, Path{"user_properties", "crm_id"}, p)
	require.Equal(t, "user_properties.crm_id", p.String())
	for _, bad := range []string{"", ".", "a..b", "a.", "\xff", "\ufffd", strings.Repeat("a.", 16) + "a"} {
		_, err := ParsePath(bad)
		require.Error(t, err, bad)
	}
}

func TestDecodeReadsWhatAppendJSONWrites(t *testing.T) {
	t.Parallel()
	d := NewDecoder(pathsOf(t, "user_id", "device_id", "user_properties.crm_id"))
	text := rapid.StringMatching(`[ -~é😀\x{2028}\x{0}-\x{1f}"\\]{1,12}`)
	rapid.Check(t, func(r *rapid.T) {
		p := Payload{
			CohortID:     rapid.StringMatching(`[!-~é]{1,20}`).Draw(r, "id"),
			CohortName:   rapid.String().Draw(r, "name"),
			InCohort:     rapid.Bool().Draw(r, "in"),
			ComputedTime: time.UnixMicro(rapid.Int64Range(oldest, stamp.UnixMicro()).Draw(r, "time")),
			MessageID:    rapid.String().Draw(r, "message"),
			Users: rapid.SliceOfN(rapid.Custom(func(r *rapid.T) Member {
				m := Member{
					UserID:    rapid.OneOf(text, rapid.Just("")).Draw(r, "user"),
					DeviceIDs: rapid.SliceOfN(text, 0, 3).Draw(r, "devices"),
				}
				if rapid.Bool().Draw(r, "alias") {
					m.Properties = []Property{{"plan", "x"}, {"crm_id", text.Draw(r, "crm")}}
				}
				return m
			}), 0, 5).Draw(r, "users"),
		}
		got, err := d.Decode(p.AppendJSON(nil), stamp)
		require.NoError(r, err)
		require.Equal(r, p, payloadOf(got))
	})
}

// payloadOf turns an event back into the payload that it was decoded from.
func payloadOf(e *Event) Payload {
	p := Payload{
		CohortID: string(e.CohortID), CohortName: string(e.CohortName), InCohort: e.InCohort,
		ComputedTime: time.UnixMicro(e.Time), MessageID: string(e.MessageID), Users: []Member{},
	}
	for _, u := range e.Users {
		m := Member{DeviceIDs: []string{}}
		for _, v := range u.Values {
			switch v.Path {
			case 0:
				m.UserID = string(v.Bytes)
			case 1:
				m.DeviceIDs = append(m.DeviceIDs, string(v.Bytes))
			case 2:
				m.Properties = []Property{{"plan", "x"}, {"crm_id", string(v.Bytes)}}
			}
		}
		p.Users = append(p.Users, m)
	}
	return p
}

func TestCut(t *testing.T) {
	t.Parallel()
	const value = ` {"x":[1, 2], "users" : [ {"user_id":"a", "n":1} ,{"user_id":"b"},
		{"user_id":"c"} ] ,"cohort_id":"c","in_cohort":false,"y":"\u00e9"} `
	for name, c := range map[string]struct {
		keep []int
		want string
	}{
		"nobody":   {nil, ` {"x":[1, 2], "users" : [] ,"cohort_id":"c","in_cohort":false,"y":"\u00e9"} `},
		"one":      {[]int{1}, ` {"x":[1, 2], "users" : [{"user_id":"b"}] ,"cohort_id":"c","in_cohort":false,"y":"\u00e9"} `},
		"two":      {[]int{0, 2}, ` {"x":[1, 2], "users" : [{"user_id":"a", "n":1},{"user_id":"c"}] ,"cohort_id":"c","in_cohort":false,"y":"\u00e9"} `},
		"everyone": {[]int{0, 1, 2}, ` {"x":[1, 2], "users" : [{"user_id":"a", "n":1},{"user_id":"b"},{"user_id":"c"}] ,"cohort_id":"c","in_cohort":false,"y":"\u00e9"} `},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Cut([]byte(value), c.keep)
			require.NoError(t, err)
			require.Equal(t, c.want, string(got))
		})
	}
	for _, keep := range [][]int{{3}, {1, 1}, {2, 0}, {-1}} {
		_, err := Cut([]byte(value), keep)
		require.ErrorIs(t, err, errKeep)
	}
	_, err := Cut([]byte("[]"), nil)
	var failure *DecodeError
	require.ErrorAs(t, err, &failure)
}

// A producer without timestamps leaves nothing to be ahead of, but for the year
// 2100: nanoseconds in the place of microseconds come out far past it.
func TestWithoutAKafkaTimestampATimePast2100IsAhead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		json  string
		want  int64
		issue TimeIssue
	}{
		{"4102444799", 4_102_444_799_000_000, TimeOK},
		{"4102444800", -1000, TimeAhead},
		{"1692206763123456789", -1000, TimeAhead},
	} {
		got, err := NewDecoder(nil).Decode(payload("computed_time", c.json), time.UnixMilli(-1))
		require.NoError(t, err)
		require.Equal(t, c.issue.String(), got.TimeIssue.String(), c.json)
		require.Equal(t, c.want, got.Time, c.json)
	}
}

// Producers change, and one topic may have many of them.
func TestADecoderKnowsOnlySomeKeysByHeart(t *testing.T) {
	t.Parallel()
	d := NewDecoder(nil)
	for i := range 1000 {
		_, err := d.Decode(payload("users", fmt.Sprintf(`[{"key%d":1,%q:2}]`, i, strings.Repeat("k", 100+i))), stamp)
		require.NoError(t, err)
	}
	require.Len(t, d.book.keys, keptKeys)
	for _, k := range d.book.keys {
		require.LessOrEqual(t, len(k.text), keptText)
	}
}

// What a decoder has learned from other records must not show.
func TestADecoderReadsEveryRecordAsIfItWereItsFirst(t *testing.T) {
	t.Parallel()
	paths := pathsOf(t, fuzzPaths...)
	rapid.Check(t, func(t *rapid.T) {
		d := NewDecoder(paths)
		key := rapid.SampledFrom([]string{`"user_id"`, `"user_i"`, `"device_id" `, `"é"`, `"user\u005fid"`, `"users`, `"`, ``, `"user_properties"`})
		value := rapid.SampledFrom([]string{`"u"`, `["a","b"]`, `{"crm_id":1}`, `{"a":{"b":"c"}}`, `null`, ``, `tru`})
		for range rapid.IntRange(1, 20).Draw(t, "records") {
			user := ""
			for i := range rapid.IntRange(0, 4).Draw(t, "keys") {
				if i > 0 {
					user += ","
				}
				user += key.Draw(t, "key") + rapid.SampledFrom([]string{":", " : ", "", "::"}).Draw(t, "colon") + value.Draw(t, "value")
			}
			record := payload("users", "[{"+user+"},{"+user+"}]")
			want, wantErr := NewDecoder(paths).Decode(record, stamp)
			got, err := d.Decode(record, stamp)
			require.Equal(t, wantErr, err, "%s", record)
			require.Empty(t, cmp.Diff(want, got, cmpopts.EquateEmpty()), "%s", record)
		}
	})
}
