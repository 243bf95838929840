package braze

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"cohortsync/internal/catalog"
)

// tracker answers requests to /users/track as a function of who is in them.
type tracker struct {
	answer   func(users []string) (status int, body string)
	requests []*http.Request
	users    [][]string
}

func (s *tracker) RoundTrip(r *http.Request) (*http.Response, error) {
	var body struct {
		Attributes []struct {
			ExternalID string `json:"external_id"`
		} `json:"attributes"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return nil, err
	}
	var users []string
	for _, a := range body.Attributes {
		users = append(users, a.ExternalID)
	}
	s.requests, s.users = append(s.requests, r), append(s.users, users)
	status, text := s.answer(users)
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

// itemErrors is an answer with an error for each item at an index.
func itemErrors(message, text string, at ...int) string {
	var errs []string
	for _, i := range at {
		errs = append(errs, fmt.Sprintf(`{"type":%q,"input_array":"attributes","index":%d}`, text, i))
	}
	return fmt.Sprintf(`{"message":%q,"errors":[%s]}`, message, strings.Join(errs, ","))
}

const (
	blacklisted = "provided external_id is blacklisted and disallowed"
	noneValid   = "Valid data must be provided in the 'attributes', 'events', or 'purchases' fields."
)

func TestAttributesAreWrittenToKnownUsersOnly(t *testing.T) {
	t.Parallel()
	items := []Item{
		{Identifier: catalog.Identifier{Kind: catalog.ExternalID, Value: "u\"1"}},
		{Identifier: catalog.Identifier{Kind: catalog.UserAlias, Label: "crm", Value: "C-1"}, Remove: true},
	}
	require.JSONEq(t, `{"attributes":[
		{"external_id":"u\"1","_update_existing_only":true,"in \"x\"":true},
		{"user_alias":{"alias_name":"C-1","alias_label":"crm"},"_update_existing_only":true,"in \"x\"":false}]}`,
		string(trackBody(`in "x"`, items)))
}

func TestTheKeyOfTheAttributesAPITravelsInItsHeader(t *testing.T) {
	t.Parallel()
	s := &tracker{answer: func([]string) (int, string) { return 201, `{"message":"success"}` }}
	report := newTestAttributes(s).Deliver(t.Context(), batchOf(3), always)
	require.NoError(t, report.Err)
	require.Equal(t, []Outcome{Delivered, Delivered, Delivered}, report.Outcomes)
	r := s.requests[0]
	require.Equal(t, "https://rest.iad-01.braze.com/users/track", r.URL.String())
	require.Equal(t, "Bearer "+dataKey, r.Header.Get("Authorization"))
	require.Equal(t, "partner-Cohortsync-Cohortsync/1.2.3", r.UserAgent())
}

func TestErrorsOfItemsAreTheirOwn(t *testing.T) {
	t.Parallel()
	all := func(n int) []int {
		at := make([]int, n)
		for i := range at {
			at[i] = i
		}
		return at
	}
	for name, c := range map[string]struct {
		n        int
		status   int
		body     string
		faults   []int
		class    Class
		requests int
	}{
		"no errors":                        {3, 201, `{"message":"success","attributes_processed":3}`, nil, 0, 1},
		"an empty list of errors":          {3, 201, `{"message":"success","errors":[]}`, nil, 0, 1},
		"queued":                           {3, 202, `{"message":"queued"}`, nil, 0, 1},
		"no body":                          {3, 201, ``, nil, 0, 1},
		"one by index":                     {3, 201, itemErrors("success", blacklisted, 1), []int{1}, 0, 1},
		"two by index":                     {75, 201, itemErrors("success", "BAD_ATTRIBUTE", 0, 74), []int{0, 74}, 0, 1},
		"a message other than success":     {3, 201, itemErrors("partial failure", blacklisted, 2), []int{2}, 0, 1},
		"a complaint about nobody":         {3, 201, `{"message":"come back later"}`, nil, Unexpected, 1},
		"a string about the only one":      {1, 201, `{"message":"success","errors":["bad"]}`, []int{0}, 0, 1},
		"no index about the only one":      {1, 201, `{"message":"success","errors":[{"type":"bad"}]}`, []int{0}, 0, 1},
		"another array":                    {1, 201, `{"message":"success","errors":[{"type":"bad","input_array":"events","index":0}]}`, []int{0}, 0, 1},
		"another array's index":            {3, 201, `{"message":"success","errors":[{"type":"bad","input_array":"events","index":0}]}`, []int{0, 1, 2}, 0, 5},
		"an index past the end":            {1, 201, itemErrors("success", blacklisted, 7), []int{0}, 0, 1},
		"an index just past the end":       {1, 201, itemErrors("success", blacklisted, 1), []int{0}, 0, 1},
		"all of few":                       {3, 201, itemErrors("success", blacklisted, all(3)...), []int{0, 1, 2}, 0, 1},
		"all of many":                      {10, 201, itemErrors("success", blacklisted, all(10)...), nil, Invalid, 1},
		"none valid, few":                  {3, 400, itemErrors(noneValid, "'external_id' must be fewer than 988 bytes", all(3)...), []int{0, 1, 2}, 0, 1},
		"none valid, one":                  {1, 400, itemErrors(noneValid, blacklisted, 0), []int{0}, 0, 1},
		"none valid, many":                 {10, 400, itemErrors(noneValid, blacklisted, all(10)...), nil, Invalid, 1},
		"none valid, for the attribute":    {3, 400, itemErrors(noneValid, "attribute name is too long", all(3)...), nil, Invalid, 1},
		"a 400 about the request":          {3, 400, `{"message":"Max Input Length Exceeded"}`, nil, Invalid, 1},
		"a 400 with errors of a new shape": {3, 400, `{"message":"x","errors":"y"}`, nil, Unexpected, 1},
		"errors of a new shape":            {3, 201, `{"message":"success","errors":{"a":1}}`, nil, Unexpected, 1},
		"too large, and one only":          {1, 413, ``, nil, Unexpected, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &tracker{answer: func([]string) (int, string) { return c.status, c.body }}
			report := newTestAttributes(s).Deliver(t.Context(), batchOf(c.n), always)
			require.Len(t, s.requests, c.requests)
			class, _ := ClassOf(report.Err)
			require.Equal(t, c.class, class, "%v", report.Err)
			for i, outcome := range report.Outcomes {
				want := Delivered
				switch {
				case slices.Contains(c.faults, i):
					want = AtFault
				case c.class != 0:
					want = Retry
				}
				require.Equal(t, want, outcome, "item %d", i)
			}
			require.Len(t, report.Faults, len(c.faults))
		})
	}
}

// Some errors name nobody. What the answer says of parts of the batch finds out
// whom they mean.
func TestErrorsWithoutAnIndexAreFoundByDividing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 75).Draw(t, "n")
		bad := rapid.SliceOfNDistinct(rapid.IntRange(0, n-1), 1, min(4, n-1), rapid.ID).Draw(t, "bad")
		form := rapid.SampledFrom([]string{
			`{"message":"success","errors":["it is bad"]}`,
			`{"message":"success","errors":[{"type":"it is bad","input_array":"attributes"}]}`,
			`{"message":"it failed in part","errors":[{"type":"it is bad"}]}`,
		}).Draw(t, "form")
		s := &tracker{answer: func(users []string) (int, string) {
			for _, i := range bad {
				if slices.Contains(users, user(i).Value) {
					return 201, form
				}
			}
			return 201, `{"message":"success"}`
		}}
		report := newTestAttributes(s).Deliver(t.Context(), batchOf(n), always)
		require.NoError(t, report.Err)
		for i, outcome := range report.Outcomes {
			require.Equal(t, slices.Contains(bad, i), outcome == AtFault, "item %d", i)
		}
		for _, i := range bad {
			require.Equal(t, Fault{Status: 201, Message: "it is bad"}, report.Faults[i])
		}
	})
}

// Braze took the request, whatever it says of some users.
func TestUsersAtFaultDoNotSpeakAgainstBrazesHealth(t *testing.T) {
	t.Parallel()
	s := &tracker{answer: func([]string) (int, string) { return 201, itemErrors("success", blacklisted, 1) }}
	var throttle *Throttle
	client := newTestAttributes(s, func(o *Options) { throttle = o.Throttle })
	for range 2 * breakerThreshold {
		require.Len(t, client.Deliver(t.Context(), batchOf(3), always).Faults, 1)
	}
	require.False(t, throttle.State().BreakerOpen)
}

func TestABatchThatIsTooLargeIsHalved(t *testing.T) {
	t.Parallel()
	s := &tracker{answer: func(users []string) (int, string) {
		if len(users) > 20 {
			return 413, `{"message":"Request Entity Too Large"}`
		}
		return 201, `{"message":"success"}`
	}}
	report := newTestAttributes(s).Deliver(t.Context(), batchOf(75), always)
	require.NoError(t, report.Err)
	require.Len(t, s.requests, 7)
	require.NotContains(t, report.Outcomes, AtFault)
}

func TestAProbeAsksForNothingButTheKey(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]Class{201: 0, 400: 0, 401: Refused, 503: Unreachable} {
		s := &tracker{answer: func([]string) (int, string) { return status, `{"message":"so"}` }}
		class, _ := ClassOf(newTestAttributes(s).Probe(t.Context()))
		require.Equal(t, want, class, "%d", status)
		require.Equal(t, [][]string{nil}, s.users)
	}
}

func FuzzTrackAnswer(f *testing.F) {
	f.Add(201, []byte(itemErrors("success", blacklisted, 1)), 3)
	f.Add(400, []byte(itemErrors(noneValid, blacklisted, 0, 1, 2)), 3)
	f.Add(201, []byte(`{"message":"success","errors":["bad",{"index":-1},7,null]}`), 2)
	keys := &credentials{api: dataKey}
	f.Fuzz(func(t *testing.T, status int, body []byte, n int) {
		n = 1 + int(uint(n)%75)
		a := answer{status: status, body: body}
		if status == 0 {
			a.err = io.ErrUnexpectedEOF
		}
		err := a.judge(keys, &call{judge: func(a *answer, k *credentials) error { return judgeTrack(a, k, n) }})
		if err == nil {
			require.Equal(t, 2, status/100)
			return
		}
		require.NotContains(t, err.Error(), dataKey)
		if some, ok := errors.AsType[*partial](err); ok {
			require.NotEmpty(t, some.faults)
			for i, fault := range some.faults {
				require.True(t, i >= 0 && i < n)
				require.NotContains(t, fault.Message, dataKey)
			}
			require.True(t, some.passed || len(some.faults) == n, "what has not passed is all at fault")
		}
	})
}
