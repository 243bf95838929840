package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "rewrite the golden files")

// rig is brazesim on a socket of its own, from its command line on.
type rig struct {
	url    string
	client *http.Client
	stop   context.CancelFunc
	ended  chan struct{}
	code   int
	errs   bytes.Buffer

	mu   sync.Mutex
	said strings.Builder
}

// start runs brazesim until the end of the test and holds it to a clean end.
func start(t *testing.T, args ...string) *rig {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	carrier := &http.Transport{}
	r := &rig{client: &http.Client{Transport: carrier}, stop: cancel, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		r.code = run(ctx, append([]string{"--listen=127.0.0.1:0"}, args...), in, &r.errs)
		_ = in.Close()
	}()
	lines := bufio.NewScanner(out)
	for r.url == "" && lines.Scan() {
		r.note(lines.Text())
		if fields := strings.Fields(lines.Text()); len(fields) > 1 && fields[0] == "endpoint" {
			r.url = fields[1]
		}
	}
	require.NotEmpty(t, r.url, "it said where it serves")
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for lines.Scan() {
			r.note(lines.Text())
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-r.ended
		<-drained
		carrier.CloseIdleConnections()
		require.Equal(t, exitDone, r.code, r.errs.String())
	})
	return r
}

func (r *rig) note(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said.WriteString(line + "\n")
}

// output returns what was printed.
func (r *rig) output() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.said.String()
}

// ask sends one request and returns the answer.
func (r *rig) ask(t *testing.T, method, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.url+path, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := r.client.Do(req)
	require.NoError(t, err)
	defer func() { require.NoError(t, res.Body.Close()) }()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res, string(text)
}

// admin asks the admin API and decodes its answer, of the status expected.
func (r *rig) admin(t *testing.T, method, path, body string, status int, into any) {
	t.Helper()
	res, text := r.ask(t, method, path, body)
	require.Equal(t, status, res.StatusCode, text)
	require.NoError(t, json.Unmarshal([]byte(text), into), text)
}

// complaint is what the admin API says of a body that it does not take.
func (r *rig) complaint(t *testing.T, method, path, body string) string {
	t.Helper()
	var said struct{ Error string }
	r.admin(t, method, path, body, http.StatusBadRequest, &said)
	require.NotEmpty(t, said.Error)
	return said.Error
}

const keys = `{"partner_api_key":"p","client_secret":"s","cohort_id":`

// change tells the cohorts API that users enter a cohort; it returns the status.
func (r *rig) change(t *testing.T, cohort, users string) int {
	t.Helper()
	res, _ := r.ask(t, http.MethodPost, "/partners/amplitude/cohorts/users",
		fmt.Sprintf(`%s%q,"cohort_changes":[{"user_ids":[%s]}]}`, keys, cohort, users), "User-Agent", "partner-Test-Test/1")
	return res.StatusCode
}

func (r *rig) name(t *testing.T, cohort, name string) {
	t.Helper()
	res, text := r.ask(t, http.MethodPost, "/partners/amplitude/cohorts",
		fmt.Sprintf(`%s%q,"name":%q,"created_at":"2021-01-21T19:20:30Z"}`, keys, cohort, name), "User-Agent", "partner-Test-Test/1")
	require.Equal(t, http.StatusCreated, res.StatusCode, text)
}

// track tells the attributes API about one user.
func (r *rig) track(t *testing.T, user, attribute string) int {
	t.Helper()
	res, _ := r.ask(t, http.MethodPost, "/users/track",
		fmt.Sprintf(`{"attributes":[{"external_id":%q,"_update_existing_only":true,%q:true}]}`, user, attribute), "Authorization", "Bearer s")
	return res.StatusCode
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got, "run with -update when the change is meant")
}
