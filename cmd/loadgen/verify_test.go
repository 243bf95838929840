package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// simulated is the admin API of a simulated Braze.
type simulated struct {
	cohorts []*simulatedCohort
	// lists counts how often all cohorts were asked for; onList is called then.
	lists  atomic.Int64
	onList func(times int64)
}

type simulatedCohort struct {
	id, name string
	// members are lines of the answer.
	members []string
}

func external(ids ...string) []string {
	lines := make([]string, len(ids))
	for i, id := range ids {
		lines[i] = fmt.Sprintf(`{"kind":"external_id","label":"","value":%q}`, id)
	}
	return lines
}

// start serves it, and returns its address. The identifiers are external ids.
func (s *simulated) start(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /admin/cohorts", func(w http.ResponseWriter, _ *http.Request) {
		if times := s.lists.Add(1); s.onList != nil {
			s.onList(times)
		}
		answer := struct {
			Cohorts []brazeCohort `json:"cohorts"`
		}{[]brazeCohort{}}
		for _, c := range s.cohorts {
			answer.Cohorts = append(answer.Cohorts, brazeCohort{c.id, c.name, len(c.members)})
		}
		w.Header().Set("Content-Type", "application/json")
		require.NoError(t, json.NewEncoder(w).Encode(answer))
	})
	mux.HandleFunc("GET /admin/cohorts/{id}/members", func(w http.ResponseWriter, r *http.Request) {
		for _, c := range s.cohorts {
			if c.id == r.PathValue("id") {
				w.Header().Set("Content-Type", "application/x-ndjson")
				for _, line := range c.members {
					fmt.Fprintln(w, line)
				}
				return
			}
		}
		http.NotFound(w, r)
	})
	front := httptest.NewServer(mux)
	t.Cleanup(front.Close)
	return front.URL
}

// expecting writes a file of three cohorts: all, some, and nobody.
func expecting(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "expected.json")
	require.NoError(t, os.WriteFile(path, []byte(`{"version":1,"topic":"t","seed":1,"records":9,"changes":9,"cohorts":[
{"id":"c1","name":"All","members":["u1","u2","u3"],"left":[]},
{"id":"c2","name":"Some","members":["u2"],"left":["u1","u3"]},
{"id":"c3","name":"Nobody","members":[],"left":["u1"]}]}`), 0o600))
	return path
}

// asExpected is a Braze that has just that.
func asExpected() []*simulatedCohort {
	return []*simulatedCohort{{"c1", "All", external("u1", "u2", "u3")}, {"c2", "Some", external("u2")}}
}

func TestVerifySaysWhatDiffers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(s *simulated)
		args   []string
		code   int
		says   []string
	}{
		"equal": {code: exitDone, says: []string{"c1 +3 +3 +0 +0", "c2 +1 +1 +0 +0", "c3 +0 +0 +0 +0", "Equal: 3 cohorts with 4 members"}},
		"equal in another order": {
			change: func(s *simulated) { s.cohorts[0].members = external("u3", "u1", "u2") },
			code:   exitDone, says: []string{"Equal"},
		},
		"who entered is missing": {
			change: func(s *simulated) { s.cohorts[0].members = external("u2") },
			code:   exitFailed, says: []string{"c1 +3 +1 +2 +0", "c1: missing, such as u1, u3", "Not equal: 1 of 3 cohorts differ"},
		},
		"who left is still in": {
			change: func(s *simulated) { s.cohorts[1].members = external("u2", "u3", "u4") },
			code:   exitFailed, says: []string{"c2 +1 +3 +0 +2", `c2: surplus, such as u3 \(left\), u4 \(was never in\)`},
		},
		"as many, but others": {
			change: func(s *simulated) { s.cohorts[1].members = external("u1") },
			code:   exitFailed, says: []string{"c2 +1 +1 +1 +1"},
		},
		"a cohort is missing": {
			change: func(s *simulated) { s.cohorts = s.cohorts[:1] },
			code:   exitFailed, says: []string{"c2 +1 +0 +1 +0"},
		},
		"a cohort is called something else": {
			change: func(s *simulated) { s.cohorts[0].name = "Alle" },
			code:   exitFailed, says: []string{`c1: is called "Alle" and not "All"`},
		},
		"a cohort that the file does not know": {
			change: func(s *simulated) {
				s.cohorts = append(s.cohorts, &simulatedCohort{"c9", "", external("u1")})
			},
			code: exitDone, says: []string{"Not in the file: c9 with 1 members", "Equal"},
		},
		"members who are no external ids": {
			change: func(s *simulated) {
				s.cohorts[0].members = append(s.cohorts[0].members, `{"kind":"device_id","label":"","value":"d1"}`, `{"kind":"user_alias","label":"crm","value":"u9"}`)
			},
			code: exitDone, says: []string{"c1: has 2 members more that are no external ids"},
		},
		"the attributes API": {
			change: func(s *simulated) {
				s.cohorts = []*simulatedCohort{{"cohort_c1", "", external("u1", "u2", "u3")}, {"cohort_c2", "", external("u2")}}
			},
			args: []string{"--api=attributes"}, code: exitDone, says: []string{"cohort_c1 +3 +3", "Equal"},
		},
		"an attribute of another name": {
			change: func(s *simulated) {
				s.cohorts = []*simulatedCohort{{"is in/c1?", "", external("u1", "u2", "u3")}, {"is in/c2?", "", external("u1")}}
			},
			args: []string{"--api=attributes", "--attribute=is in/{cohort_id}?"}, code: exitFailed,
			says: []string{`is in/c1\? +3 +3`, `is in/c2\?: surplus, such as u1 \(left\)`},
		},
		"the cohorts, but by the attributes API": {args: []string{"--api=attributes"}, code: exitFailed, says: []string{"cohort_c1 +3 +0 +3", "Not in the file: c1 with 3 members"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &simulated{cohorts: asExpected()}
			if tt.change != nil {
				tt.change(s)
			}
			code, out, errs := invoke(t.Context(), append([]string{"verify", "--expected", expecting(t), "--braze", s.start(t)}, tt.args...)...)
			require.Equal(t, tt.code, code, out+errs)
			for _, want := range tt.says {
				require.Regexp(t, want, out)
			}
			require.Equal(t, tt.code == exitFailed, strings.Contains(errs, "the membership in Braze is not the expected one"))
		})
	}
}

func TestOnlySomeExamplesAreShown(t *testing.T) {
	t.Parallel()
	s := &simulated{cohorts: asExpected()}
	s.cohorts[1].members = external("a1", "a2", "a3", "a4", "a5", "a6", "a7", "u2")
	_, out, _ := invoke(t.Context(), "verify", "--expected", expecting(t), "--braze", s.start(t))
	require.Contains(t, out, "a5 (was never in)\n")
	require.Regexp(t, `c2 +1 +8 +0 +7`, out)
}

func TestVerifyWaitsUntilTheyAreEqual(t *testing.T) {
	t.Parallel()
	s := &simulated{cohorts: asExpected()}
	s.cohorts[0].members = external("u1")
	s.onList = func(times int64) {
		if times == 2 {
			s.cohorts = asExpected()
		}
	}
	code, out, errs := invoke(t.Context(), "verify", "--expected", expecting(t), "--braze", s.start(t), "--wait=1m")
	require.Equal(t, exitDone, code, errs)
	require.Equal(t, 1, strings.Count(out, "COHORT"), "it prints what it found last")
	require.Equal(t, int64(2), s.lists.Load())
}

func TestVerifyTellsOfAnUncertainEnd(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "expected.json")
	require.NoError(t, os.WriteFile(path, []byte(`{"version":1,"uncertain":7,"cohorts":[]}`), 0o600))
	code, _, errs := invoke(t.Context(), "verify", "--expected", path, "--braze", new(simulated).start(t))
	require.Equal(t, exitDone, code)
	require.Contains(t, errs, "7 records that may be in the topic or not")
}

func TestVerifySaysWhyItCannotCompare(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(nil)
	gone.Close()
	answer := func(status int, body string) string {
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}))
		t.Cleanup(front.Close)
		return front.URL
	}
	broken := &simulated{cohorts: asExpected()}
	broken.cohorts[0].members = []string{`{"kind":"external_id"`}
	for name, tt := range map[string]struct{ url, want string }{
		"nobody is there":      {gone.URL, "asking the simulated Braze"},
		"somebody else":        {answer(404, ""), "404 Not Found; is this brazesim?"},
		"another kind of JSON": {answer(200, `{}`), "the answer has no cohorts; is this brazesim?"},
		"no JSON":              {answer(200, `<html>`), "reading the cohorts of"},
		"half of a member":     {broken.start(t), "reading the members of c1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, out, errs := invoke(t.Context(), "verify", "--expected", expecting(t), "--braze", tt.url)
			require.Equal(t, exitFailed, code)
			require.Empty(t, out)
			require.Contains(t, errs, tt.want)
		})
	}
}

func TestACohortsIDIsEscapedInTheAddress(t *testing.T) {
	t.Parallel()
	b, err := newBrazeAdmin("http://127.0.0.1:1/sim/", "")
	require.NoError(t, err)
	base, err := url.Parse("http://127.0.0.1:1/sim/admin/cohorts/a%2Fb%3F/members")
	require.NoError(t, err)
	require.Equal(t, base.String(), b.address("admin", "cohorts", "a/b?", "members"))
}
