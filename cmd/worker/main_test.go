package main

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"cohortsync/internal/config"
	"cohortsync/internal/kafkatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(kafkatest.Main(m)) }

var update = flag.Bool("update", false, "rewrite the golden files")

const good = `kafka:
  brokers: [localhost:9092]
  topic: changes
braze:
  endpoint: https://rest.iad-01.braze.com
  partner_api_key: ${env:PARTNER}
  api_key: s3cret
  identifiers: [{from: user_id, to: external_id}]
syncs: [{cohort_id: c1}, {cohort_id: c2}]
`

const bad = `kafka: {brokers: [localhost], topics: t}
targets:
  - name: US
    endpoint: https://dashboard-01.braze.com
`

// invoke runs the command line over files and variables of its own and
// returns everything that a user sees.
func invoke(args ...string) (code int, out, errs string) {
	files := map[string]string{"cohortsync.yaml": good, "bad.yaml": bad, "unset.yaml": strings.Replace(good, "PARTNER", "UNSET", 1), "any-port.yaml": good + "http: {listen: \":0\"}\n"}
	env := map[string]string{"PARTNER": "p"}
	if len(args) > 0 && strings.HasPrefix(args[0], "COHORTSYNC_CONFIG=") {
		env["COHORTSYNC_CONFIG"] = strings.TrimPrefix(args[0], "COHORTSYNC_CONFIG=")
		args = args[1:]
	}
	var stdout, stderr bytes.Buffer
	code = run(args, process{
		stdout: &stdout, stderr: &stderr, version: "v1.2.3",
		source: config.Source{
			Env: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
			ReadFile: func(path string) ([]byte, error) {
				if text, ok := files[path]; ok {
					return []byte(text), nil
				}
				return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
			},
		},
	})
	return code, stdout.String(), stderr.String()
}

func TestWhatUsersSee(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args []string
		code int
	}{
		"config-help":        {[]string{"config", "--help"}, exitDone},
		"config-check-help":  {[]string{"config", "check", "--help"}, exitDone},
		"config-print-help":  {[]string{"config", "print", "--help"}, exitDone},
		"config-schema-help": {[]string{"config", "schema", "--help"}, exitDone},
		"healthcheck-help":   {[]string{"healthcheck", "--help"}, exitDone},
		"healthcheck-nobody": {[]string{"healthcheck", "--address", "127.0.0.1:1"}, exitFailed},
		"healthcheck-bad":    {[]string{"healthcheck", "-c", "bad.yaml"}, exitUsage},
		"healthcheck-where":  {[]string{"healthcheck", "-c", "any-port.yaml"}, exitUsage},
		"version-help":       {[]string{"version", "--help"}, exitDone},
		"check-good":         {[]string{"config", "check"}, exitDone},
		"check-bad":          {[]string{"config", "check", "--config", "bad.yaml"}, exitUsage},
		"check-unset":        {[]string{"config", "check", "-c", "unset.yaml"}, exitUsage},
		"check-missing":      {[]string{"COHORTSYNC_CONFIG=none.yaml", "config", "check"}, exitUsage},
		"check-by-variable":  {[]string{"COHORTSYNC_CONFIG=bad.yaml", "config", "check"}, exitUsage},
		"print-good":         {[]string{"config", "print"}, exitDone},
		"print-unset":        {[]string{"config", "print", "-c", "unset.yaml"}, exitDone},
		"unknown-command":    {[]string{"cofnig"}, exitUsage},
		"unknown-flag":       {[]string{"config", "check", "--cnofig=x"}, exitUsage},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, out, errs := invoke(tc.args...)
			require.Equal(t, tc.code, code)
			require.NotContains(t, out+errs, "s3cret")
			require.Equal(t, tc.code == exitDone, out != "", "results go to standard output, errors do not")
			golden(t, name, out+"--- stderr ---\n"+errs)
		})
	}
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

func TestTheFirstHelpNamesEveryCommand(t *testing.T) {
	t.Parallel()
	code, out, _ := invoke("--help")
	require.Equal(t, exitDone, code)
	for _, command := range []string{"config check", "config print", "config schema", "healthcheck", "version"} {
		require.Contains(t, out, command)
	}
}

func TestNoCommandIsBadUsage(t *testing.T) {
	t.Parallel()
	code, out, errs := invoke()
	require.Equal(t, exitUsage, code)
	require.Empty(t, out)
	require.Contains(t, errs, "see cohortsync --help")
}

func TestConfigSchemaPrintsTheSchema(t *testing.T) {
	t.Parallel()
	code, out, errs := invoke("config", "schema")
	want, err := config.Schema()
	require.NoError(t, err)
	require.Equal(t, exitDone, code)
	require.Equal(t, string(want), out)
	require.Empty(t, errs)
}

func TestVersionPrefersTheLinkersAndNamesTheCommit(t *testing.T) {
	t.Parallel()
	info := &debug.BuildInfo{GoVersion: "go1.26.0", Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}}}
	require.Equal(t, "cohortsync v1.2.3 abc (modified) go1.26.0", describe("v1.2.3", info))
	require.Equal(t, "cohortsync (devel)", describe("", &debug.BuildInfo{}))
	code, out, _ := invoke("version")
	require.Equal(t, exitDone, code)
	require.True(t, strings.HasPrefix(out, "cohortsync v1.2.3"), out)
}
