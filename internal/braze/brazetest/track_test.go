package brazetest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"cohortsync/internal/catalog"
)

// track posts to the attributes API with the key "s".
func track(ctx context.Context, t *testing.T, carrier http.RoundTripper, base, body string) (*http.Response, string, error) {
	t.Helper()
	return trackAs(ctx, t, carrier, base, "Bearer s", body)
}

func trackAs(ctx context.Context, t *testing.T, carrier http.RoundTripper, base, authorization, body string) (*http.Response, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/users/track", strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Authorization", authorization)
	res, err := carrier.RoundTrip(req)
	if err != nil {
		return nil, "", err
	}
	defer func() { require.NoError(t, res.Body.Close()) }()
	said, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res, string(said), nil
}

// told sends one request and returns its status and answer.
func told(t *testing.T, s *Server, body string) (status int, said string) {
	t.Helper()
	res, said, err := track(t.Context(), t, s.Transport(), "http://braze", body)
	require.NoError(t, err)
	return res.StatusCode, said
}

// attributes is a request with these objects.
func attributes(objects ...string) string {
	return `{"attributes":[` + strings.Join(objects, ",") + `]}`
}

// object is what one user is told.
func object(id string, fields string) string {
	return fmt.Sprintf(`{"external_id":%q,"_update_existing_only":true,%s}`, id, fields)
}

func external(id string) catalog.Identifier {
	return catalog.Identifier{Kind: catalog.ExternalID, Value: id}
}

func refusing(bad string) Options {
	return Options{APIKey: "s", Bad: func(id catalog.Identifier) bool { return id.Value == bad }}
}

func TestAttributesAreKeptAsCohortsAre(t *testing.T) {
	t.Parallel()
	server := New(Options{APIKey: "s", Known: func(id catalog.Identifier) bool { return id.Value != "stranger" }})
	status, said := told(t, server, attributes(
		object("u1", `"a":true,"b":false,"age":7`), object("stranger", `"a":true`), object("u2", `"a":true`),
		`{"user_alias":{"alias_name":"n","alias_label":"l"},"_update_existing_only":true,"a":true}`))
	require.Equal(t, http.StatusCreated, status)
	require.Equal(t, `{"message":"success","attributes_processed":4}`, said, "of strangers nothing is said")
	named := catalog.Identifier{Kind: catalog.UserAlias, Label: "l", Value: "n"}
	require.Equal(t, map[catalog.Identifier]bool{external("u1"): true, external("u2"): true, named: true}, server.Members("a"))
	require.Equal(t, server.Members("a"), server.Accepted("a"))

	_, _ = told(t, server, attributes(object("u1", `"a":false`), object("u2", `"a":null`)))
	require.Equal(t, map[catalog.Identifier]bool{named: true}, server.Members("a"))
	require.Equal(t, 1, server.Count("a"))
	require.Equal(t, []Cohort{{ID: "a", Attribute: true, Members: 1}, {ID: "b", Attribute: true}}, server.Cohorts())
	ops := server.Operations("a", external("u1"))
	require.Len(t, ops, 2)
	require.Equal(t, [2]bool{false, true}, [2]bool{ops[0].Remove, ops[1].Remove})

	history := server.History()
	require.True(t, history[0].Track)
	require.Equal(t, [2]string{"", "a"}, [2]string{history[0].Cohort, history[1].Cohort}, "a request about two attributes has none of its own")
	require.Equal(t, Op{Identifier: external("u1"), Remove: true, Cohort: "b"}, history[0].Ops[1])
	require.Empty(t, server.Violations())
}

func TestAttributesAnswersAreTheDocumentedOnes(t *testing.T) {
	t.Parallel()
	const none = `"message":"Valid data must be provided in the 'attributes', 'events', or 'purchases' fields."`
	for name, c := range map[string]struct {
		body   string
		status int
		text   string
	}{
		"75 objects":         {attributes(strings.Split(strings.TrimSuffix(strings.Repeat(object("u", `"a":true`)+"\n", 75), "\n"), "\n")...), 201, `"attributes_processed":75`},
		"76 objects":         {`{"attributes":[` + strings.TrimSuffix(strings.Repeat(object("u", `"a":true`)+",", 75), ",") + `],"events":[{}]}`, 400, "Max Input Length Exceeded"},
		"no objects":         {attributes(), 400, none},
		"events only":        {`{"events":[{"external_id":"u","name":"e"}]}`, 201, `{"message":"success"}`},
		"not JSON":           {`{"attributes":[`, 400, "Invalid JSON"},
		"an object of none":  {attributes(`{"_update_existing_only":true,"a":true}`), 400, none},
		"an email address":   {attributes(`{"email":"a@example.com","_update_existing_only":true,"a":true}`), 201, "success"},
		"an id of 987 bytes": {attributes(object(strings.Repeat("é", 493)+"e", `"a":true`)), 201, "success"},
		"an id of 988 bytes": {attributes(object(strings.Repeat("é", 494), `"a":true`)), 400, "'external_id' must be fewer than 988 bytes"},
		"a name of 255":      {attributes(object("u", `"`+strings.Repeat("é", 255)+`":true`)), 201, "success"},
		"a name of 256":      {attributes(object("u", `"`+strings.Repeat("é", 256)+`":true`)), 400, "255 characters"},
		"a refused user":     {attributes(object("bad", `"a":true`)), 400, none + `,"errors":[{"type":"provided external_id is blacklisted and disallowed","input_array":"attributes","index":0}]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := New(refusing("bad"))
			status, said := told(t, server, c.body)
			require.Equal(t, c.status, status, said)
			require.Contains(t, said, c.text)
			require.Equal(t, c.status == http.StatusCreated, server.History()[0].Applied)
			require.Equal(t, c.status, server.History()[0].Status)
		})
	}
}

func TestAttributesNeedTheRightKey(t *testing.T) {
	t.Parallel()
	for authorization, want := range map[string]int{"Bearer s": 201, "Bearer x": 401, "Basic s": 401, "s": 401, "": 401} {
		server := New(Options{APIKey: "s"})
		res, said, err := trackAs(t.Context(), t, server.Transport(), "http://braze", authorization, attributes(object("u", `"a":true`)))
		require.NoError(t, err)
		require.Equal(t, want, res.StatusCode, authorization)
		require.Equal(t, want == http.StatusUnauthorized, strings.Contains(said, `{"message":"Invalid API Key"}`), said)
		require.Equal(t, want == http.StatusCreated, server.Members("a")[external("u")])
		server.SetKeys("", "x")
		res, _, err = trackAs(t.Context(), t, server.Transport(), "http://braze", "Bearer s", attributes(object("u", `"a":true`)))
		require.NoError(t, err)
		require.Equal(t, http.StatusUnauthorized, res.StatusCode, "the key was rotated")
	}
}

func TestAnItemIsRefusedByItself(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct{ object, text string }{
		"nobody":              {`{"a":true,"_update_existing_only":true}`, textIdentifier},
		"a device":            {`{"device_id":"d","a":true,"_update_existing_only":true}`, textIdentifier},
		"a user and a device": {`{"external_id":"x","device_id":"d","a":true,"_update_existing_only":true}`, textIdentifier},
		"two primaries":       {`{"external_id":"x","user_alias":{"alias_name":"n","alias_label":"l"},"a":true,"_update_existing_only":true}`, textIdentifier},
		"half an alias":       {`{"user_alias":{"alias_name":"n"},"a":true,"_update_existing_only":true}`, textIdentifier},
		"an empty id":         {object("", `"a":true`), textIdentifier},
		"a number":            {`{"external_id":7,"a":true,"_update_existing_only":true}`, textIdentifier},
		"a refused user":      {object("bad", `"a":true`), textBlocked},
		"null":                {`null`, textIdentifier},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			server := New(refusing("bad"))
			status, said := told(t, server, attributes(object("u1", `"a":true`), c.object, object("u2", `"a":true`)))
			require.Equal(t, http.StatusCreated, status)
			require.Equal(t, `{"message":"success","attributes_processed":2,"errors":[{"type":"`+c.text+`","input_array":"attributes","index":1}]}`, said)
			want := map[catalog.Identifier]bool{external("u1"): true, external("u2"): true}
			require.Equal(t, want, server.Members("a"))
			require.Equal(t, want, server.Accepted("a"))
			for _, op := range server.History()[0].Ops {
				require.Equal(t, !want[op.Identifier], op.Error == c.text, op)
			}
		})
	}
}

func TestFaultsOfTheAttributesAPI(t *testing.T) {
	t.Parallel()
	const partial = `{"message":"success","attributes_processed":1,`
	for name, c := range map[string]struct {
		fault   Fault
		status  int
		said    string
		applied bool
	}{
		"errors as strings":        {Fault{Kind: PlainErrors}, 201, partial + `"errors":["` + textBlocked + `"]}`, true},
		"errors without an index":  {Fault{Kind: UnindexedErrors}, 201, partial + `"errors":[{"type":"` + textBlocked + `","input_array":"attributes"}]}`, true},
		"another message":          {Answer(201, `{"message":"try later"}`), 201, `{"message":"try later"}`, false},
		"too large":                {Answer(413, ""), 413, "", false},
		"any answer after success": {Fault{Kind: AppliedThenAnswered, Status: 202, Body: `{"message":"queued"}`}, 202, `{"message":"queued"}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := New(refusing("bad"))
			server.Script(func(r Request) Fault {
				if r.Track && r.Cohort == "a" {
					return c.fault
				}
				return Fault{}
			})
			status, said := told(t, server, attributes(object("u", `"a":true`), object("bad", `"a":true`)))
			require.Equal(t, c.status, status)
			require.Equal(t, c.said, said)
			require.Equal(t, c.applied, server.Members("a")[external("u")])
			require.False(t, server.Members("a")[external("bad")])
			require.Equal(t, c.status, server.History()[0].Status)
		})
	}
}

func TestFormsOfErrorsComeByChanceToo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		faults Faults
		status int
		text   string
	}{
		{Faults{PlainErrors: 1}, 400, `"errors":["` + textBlocked + `"]`},
		{Faults{UnindexedErrors: 1}, 400, `"input_array":"attributes"}`},
		{Faults{TooLarge: 1}, 413, "Request Entity Too Large"},
		{Faults{NotSuccess: 1}, 201, `{"message":"The request could not be processed"}`},
	} {
		server := New(refusing("bad"))
		server.SetFaults(c.faults)
		status, said := told(t, server, attributes(object("bad", `"a":true`)))
		require.Equal(t, c.status, status)
		require.Contains(t, said, c.text)
		require.False(t, server.History()[0].Applied)
	}
}
