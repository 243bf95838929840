package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCohortsAndAttributesAreListedWithTheirMembers(t *testing.T) {
	t.Parallel()
	r := start(t, "--apply-within=0s")
	_, text := r.ask(t, http.MethodGet, "/admin/cohorts", "")
	require.JSONEq(t, `{"cohorts":[]}`, text)
	r.name(t, "c2", "Cart, <24 h>")
	require.Equal(t, http.StatusCreated, r.change(t, "c2", `"u2","u1"`))
	require.Equal(t, http.StatusCreated, r.change(t, "a/1 ?", `"u1"`))
	require.Equal(t, http.StatusCreated, r.track(t, "u9", "cohort_x"))
	res, text := r.ask(t, http.MethodGet, "/admin/cohorts", "")
	require.Equal(t, "application/json", res.Header.Get("Content-Type"))
	require.JSONEq(t, `{"cohorts":[
		{"id":"a/1 ?","name":"","api":"cohorts","members":1},
		{"id":"c2","name":"Cart, <24 h>","api":"cohorts","members":2},
		{"id":"cohort_x","name":"","api":"attributes","members":1}]}`, text)
	for path, want := range map[string]string{
		"c2/members":                         `{"kind":"external_id","label":"","value":"u1"}` + "\n" + `{"kind":"external_id","label":"","value":"u2"}` + "\n",
		url.PathEscape("a/1 ?") + "/members": `{"kind":"external_id","label":"","value":"u1"}` + "\n",
		"c2/members?limit=1":                 `{"kind":"external_id","label":"","value":"u1"}` + "\n",
		"nobody-wrote-it/members":            "",
	} {
		res, text := r.ask(t, http.MethodGet, "/admin/cohorts/"+path, "")
		require.Equal(t, http.StatusOK, res.StatusCode)
		require.Equal(t, "application/x-ndjson", res.Header.Get("Content-Type"))
		require.Equal(t, want, text)
	}
}

func TestRequestsAreShownTheNewestFirst(t *testing.T) {
	t.Parallel()
	r := start(t, "--history=3", "--bad-prefix=bad-")
	r.name(t, "c", "N")
	users := make([]string, 1000)
	for i := range users {
		users[i] = fmt.Sprintf(`"u%d"`, i)
	}
	require.Equal(t, http.StatusCreated, r.change(t, "c", strings.Join(users, ",")))
	require.Equal(t, http.StatusBadRequest, r.change(t, "c", `"bad-1"`))
	require.Equal(t, http.StatusBadRequest, r.track(t, "bad-1", "a"))
	var said struct{ Requests []requestView }
	r.admin(t, http.MethodGet, "/admin/requests", "", http.StatusOK, &said)
	require.Len(t, said.Requests, 3, "the oldest is forgotten")
	newest, oldest := said.Requests[0], said.Requests[2]
	require.Equal(t, [3]any{4, "/users/track", 400}, [3]any{newest.Seq, newest.Path, newest.Status})
	require.Equal(t, 1, newest.Refused)
	require.Equal(t, "provided external_id is blacklisted and disallowed", newest.Operations[0].Error)
	require.NotNil(t, newest.Milliseconds)
	require.Equal(t, [3]any{2, 1000, true}, [3]any{oldest.Seq, oldest.Adds, oldest.Applied})
	require.Equal(t, "partner-Test-Test/1", oldest.UserAgent)
	require.Len(t, oldest.Operations, opsKept, "of a large request the first operations")
	require.Equal(t, operationView{identifier{"external_id", "", "u0"}, "c", false, ""}, oldest.Operations[0])

	r.admin(t, http.MethodGet, "/admin/requests?limit=1", "", http.StatusOK, &said)
	require.Len(t, said.Requests, 1)
	require.Contains(t, r.complaint(t, http.MethodGet, "/admin/requests?limit=x", ""), "limit")
	require.Contains(t, r.complaint(t, http.MethodGet, "/admin/cohorts/c/members?limit=0", ""), "limit")
}

func TestTheHistoryOfAUserSpansCohorts(t *testing.T) {
	t.Parallel()
	r := start(t, "--apply-within=0s")
	const value = "u/1 %é"
	for range operationsKept + 5 {
		require.Equal(t, http.StatusCreated, r.change(t, "c", fmt.Sprintf("%q", value)))
	}
	require.Equal(t, http.StatusCreated, r.track(t, value, "a"))
	var said struct {
		Value   string
		Cohorts []standingView
	}
	r.admin(t, http.MethodGet, "/admin/users/"+url.PathEscape(value)+"/history", "", http.StatusOK, &said)
	require.Equal(t, value, said.Value)
	require.Len(t, said.Cohorts, 2)
	require.Equal(t, "a", said.Cohorts[0].Cohort)
	require.Equal(t, "c", said.Cohorts[1].Cohort)
	require.True(t, said.Cohorts[1].Member && said.Cohorts[1].Accepted)
	require.Equal(t, identifier{"external_id", "", value}, said.Cohorts[1].Identifier)
	require.Len(t, said.Cohorts[1].Operations, operationsKept, "the last ones")
	require.Equal(t, operationsKept+5, said.Cohorts[1].Operations[operationsKept-1].Request)

	r.admin(t, http.MethodGet, "/admin/users/nobody/history", "", http.StatusOK, &said)
	require.Empty(t, said.Cohorts)
}

// counters are the page's and this test's.
type counters struct {
	Requests   map[string]map[string]int
	InFlight   int `json:"in_flight"`
	Members    int
	Operations struct{ Accepted, Refused, Due int }
	Violations struct {
		Count int
		Last  []string
	}
}

func TestCountersAndMetricsSayTheSame(t *testing.T) {
	t.Parallel()
	r := start(t, "--apply-within=1h")
	require.Equal(t, http.StatusCreated, r.change(t, "c", `"u1","u2"`))
	require.Equal(t, http.StatusCreated, r.track(t, "u1", "a"))
	_, _ = r.ask(t, http.MethodGet, "/elsewhere", "")
	var c counters
	r.admin(t, http.MethodGet, "/admin/counters", "", http.StatusOK, &c)
	require.Equal(t, map[string]map[string]int{"cohorts/users": {"201": 1}, "users/track": {"201": 1}, "other": {"404": 1}}, c.Requests)
	require.Equal(t, [3]int{3, 0, 1}, [3]int{c.Operations.Accepted, c.Operations.Refused, c.Operations.Due})
	require.Equal(t, 2, c.Members, "what is due has not been applied")
	require.Equal(t, 1, c.Violations.Count)
	require.Contains(t, c.Violations.Last[0], "members of a cohort without a name")
	_, text := r.ask(t, http.MethodGet, "/metrics", "")
	for _, line := range []string{
		`brazesim_requests_total{endpoint="cohorts/users",status="201"} 1`, `brazesim_operations_total{outcome="accepted"} 3`,
		`brazesim_violations_total 1`, `brazesim_operations_due 1`, `brazesim_members 2`, `brazesim_requests_in_flight 0`,
	} {
		require.Contains(t, text, "\n"+line+"\n")
	}
}

func TestResetForgetsMembersAndKeepsFaultsAndUsers(t *testing.T) {
	t.Parallel()
	r := start(t, "--known-prefix=vip-", "--latency=1ms")
	var said map[string]any
	r.admin(t, http.MethodPost, "/admin/users", `{"users":["u1"]}`, http.StatusOK, &said)
	r.name(t, "c", "N")
	require.Equal(t, http.StatusCreated, r.change(t, "c", `"u1"`))
	r.admin(t, http.MethodPost, "/admin/reset", "", http.StatusOK, &said)
	var list struct{ Cohorts []cohortView }
	r.admin(t, http.MethodGet, "/admin/cohorts", "", http.StatusOK, &list)
	require.Empty(t, list.Cohorts)
	var c counters
	r.admin(t, http.MethodGet, "/admin/counters", "", http.StatusOK, &c)
	require.Equal(t, counters{Requests: map[string]map[string]int{}, Violations: struct {
		Count int
		Last  []string
	}{Last: []string{}}}, c)
	var f faults
	r.admin(t, http.MethodGet, "/admin/faults", "", http.StatusOK, &f)
	require.Equal(t, duration(time.Millisecond), f.Latency)
	require.Equal(t, http.StatusCreated, r.change(t, "c", `"u1"`))
	r.admin(t, http.MethodGet, "/admin/cohorts", "", http.StatusOK, &list)
	require.Equal(t, 1, list.Cohorts[0].Members, "u1 still exists")
}

func TestUsersCanBeAdded(t *testing.T) {
	t.Parallel()
	r := start(t, "--known-prefix=vip-", "--apply-within=0s")
	require.Equal(t, http.StatusCreated, r.track(t, "u1", "a"))
	var said struct {
		Users     int
		Everybody bool `json:"everybody_exists"`
	}
	r.admin(t, http.MethodPost, "/admin/users", `{"users":["u1",{"kind":"user_alias","label":"crm","value":"C-1"},"u1"]}`, http.StatusOK, &said)
	require.Equal(t, 2, said.Users)
	require.False(t, said.Everybody)
	require.Equal(t, http.StatusCreated, r.track(t, "u1", "b"))
	var list struct{ Cohorts []cohortView }
	r.admin(t, http.MethodGet, "/admin/cohorts", "", http.StatusOK, &list)
	require.Equal(t, [2]int{0, 1}, [2]int{list.Cohorts[0].Members, list.Cohorts[1].Members}, "nobody is added after the fact")
	for body, want := range map[string]string{
		`{"users":[{"kind":"email","value":"x"}]}`:      `user 0: kind is "email"`,
		`{"users":["u2",{"kind":"device_id"}]}`:         "user 1: value is missing",
		`{"users":[{"kind":"user_alias","value":"x"}]}`: "user 0: a user_alias has a label",
		`{"user":[]}`:                "unknown field",
		`{"users":["u2"]} {}`:        "more than one JSON value",
		`[]`:                         "cannot unmarshal",
		"":                           "EOF",
		`{"users":["u2",7]}`:         "cannot unmarshal",
		`{"users":["u2","","u3"]}`:   "user 1: value is missing",
		`{"users":[{"valeu":"u1"}]}`: "value is missing",
	} {
		require.Contains(t, r.complaint(t, http.MethodPost, "/admin/users", body), want)
	}
	require.Equal(t, http.StatusCreated, r.track(t, "u2", "c"))
	_, text := r.ask(t, http.MethodGet, "/admin/cohorts/c/members", "")
	require.Empty(t, text, "u2 was in bodies that were refused as a whole")

	all := start(t)
	all.admin(t, http.MethodPost, "/admin/users", `{"users":["u1"]}`, http.StatusOK, &said)
	require.True(t, said.Everybody)
}

func TestThePageIsServedAndOtherPagesAreKeptOut(t *testing.T) {
	t.Parallel()
	r := start(t)
	res, text := r.ask(t, http.MethodGet, "/", "")
	require.Equal(t, http.StatusOK, res.StatusCode)
	require.Contains(t, text, "What it does not simulate")
	require.NotRegexp(t, `(src|href)="?https?:`, text, "it needs nothing from elsewhere")
	require.Contains(t, res.Header.Get("Content-Security-Policy"), "default-src 'none'")
	res, _ = r.ask(t, http.MethodPost, "/admin/reset", "", "Origin", "https://example.com")
	require.Equal(t, http.StatusForbidden, res.StatusCode)
	res, _ = r.ask(t, http.MethodPost, "/admin/reset", "", "Origin", r.url)
	require.Equal(t, http.StatusOK, res.StatusCode)
	res, _ = r.ask(t, http.MethodDelete, "/admin/cohorts", "")
	require.Equal(t, http.StatusMethodNotAllowed, res.StatusCode)
	res, text = r.ask(t, http.MethodPost, "/elsewhere", "{}")
	require.Equal(t, http.StatusNotFound, res.StatusCode)
	require.True(t, json.Valid([]byte(text)), "elsewhere it is Braze that answers")
}
