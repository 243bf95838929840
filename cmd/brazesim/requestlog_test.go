package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheRequestLogHasEveryRequestWithAllItsOperationsAndItsEnd(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "requests.jsonl")
	r := start(t, "--request-log="+file, "--bad-prefix=bad-", "--history=1")
	r.name(t, "c", "N")
	users := strings.Repeat(`"u",`, opsKept) + `"last"`
	require.Equal(t, http.StatusCreated, r.change(t, "c", users))
	require.Equal(t, http.StatusBadRequest, r.change(t, "c", `"bad-1"`))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NotContains(t, string(text), "key", "no key is written")
	type line struct {
		Event, Path, Cohort string
		Seq, Status         int
		Answered, Applied   bool
		Operations          []struct{ Value string }
	}
	var lines []line
	for one := range strings.Lines(string(text)) {
		var l line
		require.NoError(t, json.Unmarshal([]byte(one), &l))
		lines = append(lines, l)
	}
	require.Len(t, lines, 6)
	require.Equal(t, "last", lines[2].Operations[opsKept].Value, "more than the history keeps")
	require.Equal(t, line{Event: "over", Seq: 2, Status: 201, Answered: true, Applied: true}, lines[3])
	require.Equal(t, line{Event: "over", Seq: 3, Status: 400, Answered: true}, lines[5])
}

func TestARequestLogThatCannotBeOpenedIsSaid(t *testing.T) {
	t.Parallel()
	var errs strings.Builder
	code := run(context.Background(), []string{"--listen=127.0.0.1:0", "--request-log=" + t.TempDir()}, io.Discard, &errs)
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs.String(), "--request-log")
}

func TestRotatedKeysAreTheOnlyOnesTaken(t *testing.T) {
	t.Parallel()
	r := start(t, "--api-key=s")
	r.name(t, "c", "N")
	for _, step := range []struct {
		key  string
		want int
	}{{"other", http.StatusUnauthorized}, {"s", http.StatusCreated}} {
		_, text := r.ask(t, http.MethodPut, "/admin/keys", `{"api_key":"`+step.key+`"}`)
		require.JSONEq(t, `{"changed":true}`, text)
		require.Equal(t, step.want, r.change(t, "c", `"u"`))
	}
}

func TestASlowCohortIsAppliedAfterItsLatency(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.name(t, "slow", "N")
	r.ask(t, http.MethodPost, "/admin/faults/script", `[{"match":{"cohort":"slow"},"kind":"slow","latency":"50ms"}]`)
	began := time.Now()
	require.Equal(t, http.StatusCreated, r.change(t, "slow", `"u"`))
	require.GreaterOrEqual(t, time.Since(began), 50*time.Millisecond)
	_, text := r.ask(t, http.MethodGet, "/admin/cohorts/slow/members", "")
	require.Contains(t, text, `"u"`)
	for _, wrong := range []string{`[{"kind":"slow"}]`, `[{"status":503,"latency":"1s"}]`} {
		res, _ := r.ask(t, http.MethodPost, "/admin/faults/script", wrong)
		require.Equal(t, http.StatusBadRequest, res.StatusCode)
	}
}
