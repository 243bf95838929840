package main

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"cohortsync/internal/kafkatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(kafkatest.Main(m)) }

var update = flag.Bool("update", false, "rewrite the golden files")

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

// invoke runs the command line and returns everything that a user sees.
func invoke(ctx context.Context, args ...string) (code int, out, errs string) {
	var stdout, stderr bytes.Buffer
	code = run(ctx, args, process{stdout: &stdout, stderr: &stderr, now: time.Now})
	return code, stdout.String(), stderr.String()
}

func TestWhatUsersSee(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		args []string
		code int
	}{
		"help":             {[]string{"--help"}, exitDone},
		"write-help":       {[]string{"write", "--help"}, exitDone},
		"verify-help":      {[]string{"verify", "--help"}, exitDone},
		"unknown-flag":     {[]string{"--change=1"}, exitUsage},
		"every-flag-wrong": {[]string{"--prefix=a/b", "--changes=-1", "--rate=-1", "--cohorts=0", "--zipf=11", "--users-per-record=0", "--device-ids=-1", "--properties=101", "--late-by=0s", "--start-time=2100-01-01T00:00:00Z", "--singles=2", "--churn=0.6", "--late=0.6", "--duplicates=1.1", "--users=0", "--duration=-1s"}, exitUsage},
		"unique-and-churn": {[]string{"--unique", "--churn=0.1"}, exitUsage},
		"unique-endless":   {[]string{"--unique", "--duration=1s"}, exitUsage},
		"no-partitions":    {[]string{"--create", "--partitions=0"}, exitUsage},
		"large-records":    {[]string{"--users-per-record=50000", "--changes=100000", "--start-time=2026-01-02T03:04:05.678912Z"}, exitUsage},
		"verify-no-file":   {[]string{"verify"}, exitUsage},
		"verify-bad-url":   {[]string{"verify", "--expected=testdata/expected.json.golden", "--braze=localhost:8081"}, exitUsage},
		"verify-bad-attribute": {[]string{
			"verify", "--expected=testdata/expected.json.golden", "--api=attributes", "--attribute=in_{sync}",
		}, exitUsage},
		"verify-one-attribute": {[]string{
			"verify", "--expected=testdata/expected.json.golden", "--api=attributes", "--attribute=in_all",
		}, exitUsage},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, out, errs := invoke(t.Context(), tt.args...)
			require.Equal(t, tt.code, code, errs)
			require.Equal(t, tt.code == exitDone, out != "", "results go to standard output, errors do not")
			golden(t, name, out+"--- stderr ---\n"+errs)
		})
	}
}
