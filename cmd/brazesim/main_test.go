package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWhatUsersSee(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args []string
		code int
	}{
		"help":                 {[]string{"--help"}, exitDone},
		"unknown-flag":         {[]string{"--latnecy=1s"}, exitUsage},
		"no-probability":       {[]string{"--server-error=2"}, exitUsage},
		"everything-wrong":     {[]string{"--limit=-1", "--per=0s", "--apply-within=-1s", "--history=0", "--jitter=-1s"}, exitUsage},
		"no-dialect":           {[]string{"--dialect=klingon"}, exitUsage},
		"users-that-are-none":  {[]string{"--users=testdata/users-bad.txt"}, exitFailed},
		"users-that-are-gone":  {[]string{"--users=testdata/none.txt"}, exitFailed},
		"healthcheck-nobody":   {[]string{"--healthcheck", "--listen=:1"}, exitFailed},
		"keys-twice":           {[]string{"--api-key=k", "--api-key-file=testdata/none.txt"}, exitUsage},
		"key-file-gone":        {[]string{"--api-key-file=testdata/none.txt"}, exitFailed},
		"key-file-empty":       {[]string{"--partner-key-file=/dev/null"}, exitFailed},
		"no-arguments-allowed": {[]string{"run"}, exitUsage},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, errs bytes.Buffer
			require.Equal(t, tc.code, run(t.Context(), tc.args, &out, &errs))
			require.Equal(t, tc.code == exitDone, out.Len() > 0, "results go to standard output, errors do not")
			here, err := filepath.Abs(".")
			require.NoError(t, err)
			golden(t, name, out.String()+"--- stderr ---\n"+string(bytes.ReplaceAll(errs.Bytes(), []byte(here+"/"), nil)))
		})
	}
}

func TestATakenAddressIsAnError(t *testing.T) {
	t.Parallel()
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	var out, errs bytes.Buffer
	require.Equal(t, exitFailed, run(t.Context(), []string{"--listen=" + taken.Addr().String()}, &out, &errs))
	require.Contains(t, errs.String(), "opening the address (--listen)")
	require.Empty(t, out.String())
}

func TestItSaysThatItIsASimulatorAndWhatItHad(t *testing.T) {
	t.Parallel()
	r := start(t)
	require.Contains(t, r.output(), "A SIMULATED Braze")
	r.name(t, "c", "N")
	require.Equal(t, http.StatusCreated, r.change(t, "c", `"a","b","b"`))
	r.stop()
	<-r.ended
	require.Eventually(t, func() bool { return bytes.Contains([]byte(r.output()), []byte("twice")) }, time.Minute, time.Millisecond)
	require.Contains(t, r.output(), "Stopped. It had 2 requests with 3 accepted operations, and holds 2 members.")
	require.NotContains(t, r.output(), "other machines")
}

func TestItTellsAHealthcheckThatItIsWell(t *testing.T) {
	t.Parallel()
	r := start(t)
	var out, errs bytes.Buffer
	address := strings.TrimPrefix(r.url, "http://")
	require.Equal(t, exitDone, run(t.Context(), []string{"--healthcheck", "--listen=" + address}, &out, &errs), errs.String())
	require.Equal(t, address+" is healthy\n", out.String())
}

// The tests' key is s.
func TestAKeyComesFromItsFile(t *testing.T) {
	t.Parallel()
	for key, status := range map[string]int{"s\n": http.StatusCreated, "another\n": http.StatusUnauthorized} {
		file := filepath.Join(t.TempDir(), "key")
		require.NoError(t, os.WriteFile(file, []byte(key), 0o600))
		require.Equal(t, status, start(t, "--api-key-file", file).track(t, "u1", "a"), key)
	}
}

func TestItWarnsWhereOthersCanReachIt(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"127.0.0.1:80", "[::1]:80", "0.0.0.0:80", "192.0.2.1:80"} {
		at, err := net.ResolveTCPAddr("tcp", address)
		require.NoError(t, err)
		var out bytes.Buffer
		greet(&out, at)
		require.Equal(t, !at.IP.IsLoopback(), bytes.Contains(out.Bytes(), []byte("other machines")), address)
	}
}

// Ctrl-C ends it although somebody waits for an answer that never comes.
func TestItStopsInSpiteOfRequestsThatAreNeverAnswered(t *testing.T) {
	t.Parallel()
	r := start(t, "--silent=1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+"/users/track", http.NoBody)
	require.NoError(t, err)
	failed := make(chan error, 1)
	go func() {
		res, err := r.client.Do(req)
		if err == nil {
			_ = res.Body.Close()
		}
		failed <- err
	}()
	require.Eventually(t, func() bool {
		var c struct {
			InFlight int `json:"in_flight"`
		}
		r.admin(t, http.MethodGet, "/admin/counters", "", http.StatusOK, &c)
		return c.InFlight == 1
	}, time.Minute, time.Millisecond)
	r.stop()
	<-r.ended
	require.Error(t, <-failed)
}

func TestUsersOfAFileExistAndNobodyElse(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "users.txt")
	require.NoError(t, os.WriteFile(file, []byte("u1\n\n  u 2 \n{\"kind\":\"user_alias\",\"label\":\"crm\",\"value\":\"C-1\"}\n{\"value\":\"u3\"}\n"), 0o600))
	r := start(t, "--users", file, "--known-prefix=vip-", "--apply-within=0s")
	r.name(t, "c", "N")
	require.Equal(t, http.StatusCreated, r.change(t, "c", `"u1","u 2","u3","u4","C-1","vip-1"`))
	require.Equal(t, http.StatusCreated, r.track(t, "u1", "a"))
	require.Equal(t, http.StatusCreated, r.track(t, "u4", "a"))
	_, text := r.ask(t, http.MethodGet, "/admin/cohorts/c/members", "")
	require.Equal(t, `{"kind":"external_id","label":"","value":"u 2"}
{"kind":"external_id","label":"","value":"u1"}
{"kind":"external_id","label":"","value":"u3"}
{"kind":"external_id","label":"","value":"vip-1"}
`, text)
	_, text = r.ask(t, http.MethodGet, "/admin/cohorts/a/members", "")
	require.Equal(t, "{\"kind\":\"external_id\",\"label\":\"\",\"value\":\"u1\"}\n", text)
}
