package main

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFaultsAreSwitchedByTheirProbability(t *testing.T) {
	t.Parallel()
	r := start(t, "--server-error=1", "--limited-for=4s")
	var was, f faults
	r.admin(t, http.MethodGet, "/admin/faults", "", http.StatusOK, &was)
	require.Equal(t, faults{ServerError: 1, LimitedFor: was.LimitedFor}, was)
	require.Equal(t, http.StatusServiceUnavailable, r.track(t, "u", "a"))
	for _, c := range []struct {
		body string
		want int
	}{
		{`{"locked":1}`, http.StatusLocked},
		{`{"limited":1,"latency":"1ms"}`, http.StatusTooManyRequests},
		{`{"too_large":1}`, http.StatusRequestEntityTooLarge},
		{`{"html":1}`, http.StatusOK},
		{`{"applied_then_error":1}`, http.StatusBadGateway},
		{`{}`, http.StatusCreated},
	} {
		r.admin(t, http.MethodPut, "/admin/faults", c.body, http.StatusOK, &f)
		require.Equal(t, c.want, r.track(t, "u", "a"), c.body)
	}
	r.admin(t, http.MethodGet, "/admin/faults", "", http.StatusOK, &f)
	require.Equal(t, faults{LimitedFor: duration(defaultLimitedFor)}, f, "what a body leaves out is off")
	for body, want := range map[string]string{
		`{"server_error":1.1}`: "server_error is 1.1", `{"latency":"-1s"}`: "at least 0s", `{"latency":"soon"}`: `"soon" is no duration`,
		`{"sever_error":1}`: "unknown field", `{"limited_for":"1ms"}`: "at least 1s",
	} {
		require.Contains(t, r.complaint(t, http.MethodPut, "/admin/faults", body), want)
	}
}

func TestAScriptMakesTheNextMatchingRequestsFail(t *testing.T) {
	t.Parallel()
	r := start(t, "--apply-within=0s", "--bad-prefix=bad-")
	var left []rule
	r.admin(t, http.MethodPost, "/admin/faults/script", `[
		{"match":{"path":"/users/track","cohort":"a"},"status":503,"times":2},
		{"match":{"cohort":"c"},"kind":"applied_then_answer","status":500,"headers":{"Retry-After":"7"},"body":"oh"},
		{"match":{"path":"/users/track"},"kind":"plain_errors","times":-1}]`, http.StatusOK, &left)
	require.Len(t, left, 3)
	require.Equal(t, http.StatusServiceUnavailable, r.track(t, "u", "a"))
	require.Equal(t, http.StatusCreated, r.track(t, "u", "b"), "another attribute")
	r.admin(t, http.MethodGet, "/admin/faults/script", "", http.StatusOK, &left)
	require.Equal(t, []int{1, 1, -1}, []int{left[0].Times, left[1].Times, left[2].Times})
	require.Equal(t, http.StatusServiceUnavailable, r.track(t, "u", "a"))
	require.Equal(t, http.StatusCreated, r.track(t, "u", "a"))
	require.Equal(t, http.StatusInternalServerError, r.change(t, "c", `"u"`))
	require.Equal(t, http.StatusCreated, r.change(t, "c", `"v"`))
	_, text := r.ask(t, http.MethodGet, "/admin/cohorts/c/members?limit=1", "")
	require.Equal(t, "{\"kind\":\"external_id\",\"label\":\"\",\"value\":\"u\"}\n", text, "it was applied before the answer")
	_, text = r.ask(t, http.MethodPost, "/users/track", `{"attributes":[{"external_id":"bad-1","_update_existing_only":true,"a":true}]}`, "Authorization", "Bearer s")
	require.Contains(t, text, `"errors":["provided external_id`)
	r.admin(t, http.MethodGet, "/admin/faults/script", "", http.StatusOK, &left)
	require.Len(t, left, 1, "what is used up is gone")
	r.admin(t, http.MethodPost, "/admin/faults/script", `[]`, http.StatusOK, &left)
	require.Empty(t, left)
}

func TestAScriptsAnswerIsAsItSays(t *testing.T) {
	t.Parallel()
	r := start(t)
	for rules, want := range map[string]string{
		`[{"status":429,"headers":{"x-ratelimit-retry-after":"9"}}]`: `{"message":"Too Many Requests"}`,
		`[{"status":418,"body":"tea"}]`:                              "tea",
		`[{"status":204,"body":""}]`:                                 "",
	} {
		var left []rule
		r.admin(t, http.MethodPost, "/admin/faults/script", rules, http.StatusOK, &left)
		res, text := r.ask(t, http.MethodPost, "/users/track", `{}`)
		require.Equal(t, left[0].Status, res.StatusCode)
		require.Equal(t, want, text)
		require.Equal(t, left[0].Headers["x-ratelimit-retry-after"], res.Header.Get("X-Ratelimit-Retry-After"))
	}
	r.admin(t, http.MethodPost, "/admin/faults/script", `[{"kind":"reset"}]`, http.StatusOK, &[]rule{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/users/track", http.NoBody)
	require.NoError(t, err)
	res, err := r.client.Do(req)
	if err == nil {
		_ = res.Body.Close()
	}
	require.Error(t, err, "the connection is cut")
}

func TestAScriptThatIsWrongChangesNothing(t *testing.T) {
	t.Parallel()
	r := start(t)
	var left []rule
	r.admin(t, http.MethodPost, "/admin/faults/script", `[{"status":503,"times":-1}]`, http.StatusOK, &left)
	for body, want := range map[string]string{
		`[{"status":503},{"kind":"explode"}]`:    `rule 1: kind is "explode"`,
		`[{"status":503,"times":-2}]`:            "rule 0: times is -2",
		`[{}]`:                                   "rule 0: status is 0",
		`[{"status":99}]`:                        "rule 0: status is 99",
		`[{"kind":"silent","status":200}]`:       "rule 0: kind silent takes no status",
		`[null]`:                                 "rule 0: it is null",
		`[{"match":{"chort":"c"},"status":200}]`: "unknown field",
		`{"status":200}`:                         "cannot unmarshal",
	} {
		require.Contains(t, r.complaint(t, http.MethodPost, "/admin/faults/script", body), want)
	}
	require.Equal(t, http.StatusServiceUnavailable, r.track(t, "u", "a"))
}
