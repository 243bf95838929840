package mapping

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"cohortsync/internal/catalog"
	"cohortsync/internal/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var stamp = time.Unix(1692206800, 0)

var (
	byUser   = catalog.Rule{From: "user_id", To: catalog.ExternalID}
	byDevice = catalog.Rule{From: "device_id", To: catalog.DeviceID}
	byCRM    = catalog.Rule{From: "user_properties.crm_id", To: catalog.UserAlias, Label: "crm"}
)

func newMapper(tb testing.TB, send catalog.Send, rules ...catalog.Rule) *Mapper {
	tb.Helper()
	m, err := New(rules, send)
	require.NoError(tb, err)
	return m
}

// mapUser maps a user who is written as JSON, and writes each key as text.
func mapUser(tb testing.TB, m *Mapper, user string) (mapped []string) {
	tb.Helper()
	e, err := event.NewDecoder(m.Paths()).Decode([]byte(`{"cohort_id":"c","in_cohort":true,"users":[`+user+`]}`), stamp)
	require.NoError(tb, err)
	for _, k := range m.Map(&e.Users[0], nil) {
		if k.Skip != SkipNone {
			require.Nil(tb, k.Bytes)
			mapped = append(mapped, "skip "+k.Skip.String())
			continue
		}
		id := m.Identifier(string(k.Bytes))
		mapped = append(mapped, strings.TrimSuffix(id.Kind.String()+" "+id.Value+" "+id.Label, " "))
	}
	return mapped
}

func TestMap(t *testing.T) {
	t.Parallel()
	all := []catalog.Rule{byUser, byDevice, byCRM}
	const everything = `{"user_id":"u","device_id":["d1","d2"],"user_properties":{"crm_id":"c"}}`
	for name, c := range map[string]struct {
		rules []catalog.Rule
		send  catalog.Send
		user  string
		want  []string
	}{
		"all sends every identifier":               {all, catalog.SendAll, everything, []string{"external_id u", "device_id d1", "device_id d2", "user_alias c crm"}},
		"first takes the first rule":               {all, catalog.SendFirst, everything, []string{"external_id u"}},
		"first takes all values of a rule":         {all, catalog.SendFirst, `{"device_id":["d1","d2"],"user_properties":{"crm_id":"c"}}`, []string{"device_id d1", "device_id d2"}},
		"first passes over what is unusable":       {all, catalog.SendFirst, `{"user_id":"","device_id":"d","user_properties":{"crm_id":""}}`, []string{"skip empty", "device_id d"}},
		"first goes by the order of rules":         {[]catalog.Rule{byCRM, byUser}, catalog.SendFirst, everything, []string{"user_alias c crm"}},
		"nobody":                                   {all, catalog.SendAll, `{}`, []string{"skip no_identifier"}},
		"null is absent":                           {all, catalog.SendAll, `{"user_id":null,"device_id":[]}`, []string{"skip no_identifier"}},
		"only what no rule wants":                  {all, catalog.SendFirst, `{"email":"a@example.com"}`, []string{"skip no_identifier"}},
		"usable and unusable values":               {all, catalog.SendAll, `{"user_id":"u","device_id":["",true,"d"]}`, []string{"external_id u", "skip empty", "skip not_a_string", "device_id d"}},
		"an integer":                               {all, catalog.SendAll, `{"user_id":-12345678901234567890}`, []string{"external_id -12345678901234567890"}},
		"a fraction":                               {all, catalog.SendAll, `{"user_id":1.0}`, []string{"skip not_a_string"}},
		"an exponent":                              {all, catalog.SendAll, `{"user_id":1e3}`, []string{"skip not_a_string"}},
		"a boolean":                                {all, catalog.SendAll, `{"user_id":true}`, []string{"skip not_a_string"}},
		"an object":                                {all, catalog.SendAll, `{"user_id":{"id":"u"}}`, []string{"skip not_a_string"}},
		"empty":                                    {all, catalog.SendAll, `{"user_id":""}`, []string{"skip empty"}},
		"white space":                              {all, catalog.SendAll, `{"user_id":" \n\u2003"}`, []string{"skip empty"}},
		"spaces":                                   {all, catalog.SendAll, `{"user_id":"   "}`, []string{"skip empty"}},
		"nothing is trimmed":                       {all, catalog.SendAll, `{"user_id":" u "}`, []string{"external_id  u "}},
		"987 bytes":                                {all, catalog.SendAll, `{"user_id":"` + strings.Repeat("x", 987) + `"}`, []string{"external_id " + strings.Repeat("x", 987)}},
		"988 bytes":                                {all, catalog.SendAll, `{"user_id":"` + strings.Repeat("x", 988) + `"}`, []string{"skip too_long"}},
		"494 characters of two bytes":              {all, catalog.SendAll, `{"user_id":"` + strings.Repeat("é", 494) + `"}`, []string{"skip too_long"}},
		"a control character":                      {all, catalog.SendAll, `{"user_id":"a\u0000"}`, []string{"skip control_characters"}},
		"delete":                                   {all, catalog.SendAll, `{"user_id":"a\u007f"}`, []string{"skip control_characters"}},
		"a control character beyond ASCII":         {all, catalog.SendAll, `{"user_id":"a\u0085b"}`, []string{"skip control_characters"}},
		"half a surrogate pair":                    {all, catalog.SendAll, `{"user_id":"a\udc00"}`, []string{"skip invalid_utf8"}},
		"text beyond ASCII":                        {all, catalog.SendAll, `{"user_id":"é😀"}`, []string{"external_id é😀"}},
		"equal values of a rule are one":           {all, catalog.SendAll, `{"device_id":["d","d"]}`, []string{"device_id d"}},
		"equal values of two rules are one":        {[]catalog.Rule{byUser, {From: "alt", To: catalog.ExternalID}}, catalog.SendAll, `{"user_id":"u","alt":"u"}`, []string{"external_id u"}},
		"an integer and its digits are one":        {all, catalog.SendAll, `{"device_id":[7,"7"]}`, []string{"device_id 7"}},
		"equal values of other kinds are not":      {[]catalog.Rule{byUser, {From: "user_id", To: catalog.DeviceID}}, catalog.SendAll, `{"user_id":"u"}`, []string{"external_id u", "device_id u"}},
		"equal values under another label are not": {[]catalog.Rule{byCRM, {From: byCRM.From, To: catalog.UserAlias, Label: "x"}}, catalog.SendAll, everything, []string{"user_alias c crm", "user_alias c x"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, mapUser(t, newMapper(t, c.send, c.rules...), c.user))
		})
	}
}

func TestMapTellsManyIdentifiersApart(t *testing.T) {
	t.Parallel()
	var devices, want []string
	for i := range 20_000 {
		devices = append(devices, fmt.Sprintf("%q", fmt.Sprint("d", i/2)))
		if i%2 == 0 {
			want = append(want, fmt.Sprint("device_id d", i/2))
		}
	}
	user := `{"device_id":[` + strings.Join(append(devices, `"d0"`), ",") + `]}`
	m := newMapper(t, catalog.SendAll, byDevice)
	require.Equal(t, want, mapUser(t, m, user))
	require.Equal(t, []string{"device_id d0"}, mapUser(t, m, `{"device_id":"d0"}`), "one user's identifiers are not the next one's")
	require.Equal(t, want, mapUser(t, m, user))
}

func TestMapYieldsEachIdentifierOnceInTheOrderOfTheRules(t *testing.T) {
	t.Parallel()
	m := newMapper(t, catalog.SendAll, byDevice, byUser, catalog.Rule{From: "alt", To: catalog.ExternalID})
	rapid.Check(t, func(r *rapid.T) {
		value := rapid.Map(rapid.IntRange(0, 30), func(n int) string { return fmt.Sprint("v", n) })
		devices := rapid.SliceOfN(value, 0, 40).Draw(r, "devices")
		user, alt := value.Draw(r, "user"), value.Draw(r, "alt")

		u := event.User{}
		var want []catalog.Identifier
		seen := make(map[catalog.Identifier]bool)
		give := func(path int, kind catalog.Kind, value string) {
			u.Values = append(u.Values, event.Value{Path: path, Kind: event.String, Bytes: []byte(value)})
			if id := (catalog.Identifier{Kind: kind, Value: value}); !seen[id] {
				seen[id] = true
				want = append(want, id)
			}
		}
		for _, d := range devices {
			give(0, catalog.DeviceID, d)
		}
		give(1, catalog.ExternalID, user)
		give(2, catalog.ExternalID, alt)

		var got []catalog.Identifier
		for _, k := range m.Map(&u, nil) {
			require.Equal(r, SkipNone, k.Skip)
			got = append(got, m.Identifier(string(k.Bytes)))
		}
		require.Equal(r, want, got)
	})
}

func TestMapAppends(t *testing.T) {
	t.Parallel()
	m := newMapper(t, catalog.SendAll, byUser)
	u := event.User{Values: []event.Value{{Kind: event.String, Bytes: []byte("u")}}}
	keys := m.Map(&u, []Key{{Skip: SkipEmpty}})
	require.Len(t, keys, 2)
	require.Equal(t, SkipEmpty, keys[0].Skip)
	own := bytes.Clone(keys[1].Bytes)
	keys = m.Map(&u, []Key{{Bytes: own}})
	require.Len(t, keys, 2)
	require.Equal(t, own, keys[1].Bytes, "what another user has is this one's too")
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	alias := func(label string) []catalog.Rule {
		return []catalog.Rule{{From: "a", To: catalog.UserAlias, Label: label}}
	}
	for name, c := range map[string]struct {
		rules []catalog.Rule
		send  catalog.Send
		want  string
	}{
		"no rule":              {nil, catalog.SendAll, "there is no rule"},
		"no send":              {[]catalog.Rule{byUser}, "", `send is ""`},
		"an empty path":        {[]catalog.Rule{byUser, {To: catalog.ExternalID}}, catalog.SendAll, "identifier 2: the path is empty"},
		"no kind":              {[]catalog.Rule{{From: "a"}}, catalog.SendAll, "no kind"},
		"a label of another":   {[]catalog.Rule{{From: "a", To: catalog.DeviceID, Label: "x"}}, catalog.SendAll, "a label belongs to a user_alias"},
		"an alias without one": {alias(" "), catalog.SendAll, "needs a label"},
		"a long label":         {alias(strings.Repeat("x", 256)), catalog.SendAll, "longer than 255"},
		"a label with control": {alias("a\n1"), catalog.SendAll, "control characters"},
		"a label not in UTF-8": {alias("\xff"), catalog.SendAll, "not UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := New(c.rules, c.send)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestSkipsHaveNamesOfTheirOwn(t *testing.T) {
	t.Parallel()
	names := map[string]bool{"unknown": true, SkipNone.String(): true}
	for _, s := range Skips() {
		require.False(t, names[s.String()])
		names[s.String()] = true
	}
	require.Equal(t, "unknown", (Skips()[len(Skips())-1] + 1).String())
}

// record returns a payload of n users.
func record(n int) []byte {
	p := event.Payload{CohortID: "7khm89cz", CohortName: "High LTV", InCohort: true, ComputedTime: stamp, MessageID: "9baaa88f::enter::0"}
	for i := range n {
		p.Users = append(p.Users, event.Member{
			UserID:     fmt.Sprintf("user_%06d@example.com", i),
			DeviceIDs:  []string{fmt.Sprintf("3f0c9a52-17cd-4ee5-a946-%012d", i)},
			Properties: []event.Property{{Name: "crm_id", Value: fmt.Sprint("C-", i)}},
		})
	}
	return p.AppendJSON(nil)
}

// Not parallel, as AllocsPerRun asks.
func TestDecodingAndMappingAllocateNothing(t *testing.T) {
	m := newMapper(t, catalog.SendAll, byUser, byDevice, byCRM)
	d := event.NewDecoder(m.Paths())
	var keys []Key
	for _, value := range [][]byte{
		record(500), record(1),
		[]byte(`{"cohort_id":"\u00e9","in_cohort":true,"computed_time":"2023-08-16T17:26:03Z","users":[{"user_id":"\u00e9","device_id":["a",1,true,""]},{}]}`),
	} {
		require.Zero(t, testing.AllocsPerRun(20, func() {
			e, err := d.Decode(value, stamp)
			if err != nil {
				t.Fatal(err)
			}
			for i := range e.Users {
				keys = m.Map(&e.Users[i], keys[:0])
			}
		}))
	}
}
