//go:build unix

package main

import (
	"bytes"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"cohortsync/internal/braze/brazetest"
	"cohortsync/internal/config"
	"cohortsync/internal/kafkatest"
)

// checkOnlineOf runs the command in this process, over a file on disk. What
// differs from run to run is replaced in its output.
func checkOnlineOf(t *testing.T, s settings) (code int, out string) {
	t.Helper()
	file := s.write(t)
	env := map[string]string{"PARTNER_KEY": partnerSecret, "API_KEY": apiSecret, "SASL_PASSWORD": saslSecret}
	var stdout, stderr bytes.Buffer
	code = run([]string{"config", "check", "--online", "--config", file}, process{
		stdout: &stdout, stderr: &stderr, version: "v1.2.3",
		source: config.Source{
			Env:      func(name string) (string, bool) { v, ok := env[name]; return v, ok },
			ReadFile: os.ReadFile,
		},
	})
	out = stdout.String() + "--- stderr ---\n" + stderr.String()
	requireNoSecret(t, out)
	host := strings.TrimPrefix(s.braze, "http://")
	return code, strings.NewReplacer(file, "cohortsync.yaml", s.brokers[0], "KAFKA", host, "BRAZE").Replace(strings.ReplaceAll(out, s.before, ""))
}

func TestCheckingOnlinePrintsALineForEachThing(t *testing.T) {
	t.Parallel()
	_, _, braze := startBraze(t, brazetest.Options{})
	other := brazetest.New(brazetest.Options{PartnerKey: partnerSecret, APIKey: "another"}).Start()
	t.Cleanup(other.Close)
	kafka := startKafka(t, 12)
	kafka.Admin().CreateTopic(t, deadLetters, 3)
	empty := kafkatest.Start(t)
	for name, row := range map[string]struct {
		kafka kafkatest.Broker
		braze string
		code  int
	}{
		"online-good":  {kafka, braze, exitDone},
		"online-wrong": {empty, other.URL, exitFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, out := checkOnlineOf(t, quick(nil, row.braze).on(row.kafka))
			require.Equal(t, row.code, code)
			golden(t, name, out)
		})
	}
}

func TestAWarningOnlineIsNoFailure(t *testing.T) {
	t.Parallel()
	_, _, braze := startBraze(t, brazetest.Options{})
	kafka := kafkatest.Start(t)
	kafka.Admin().CreateTopic(t, deadLetters, 1)
	kafka.Admin().CreateTopic(t, topic, 1, "cleanup.policy", "compact")
	s := quick(nil, braze).on(kafka)
	s.kafka = "  allow_compacted: true\n"
	code, out := checkOnlineOf(t, s)
	require.Equal(t, exitDone, code)
	require.Contains(t, out, "warning  topic changes: 1 partition, cleanup.policy=compact")
}

func TestABadFileIsNotCheckedOnline(t *testing.T) {
	t.Parallel()
	code, out, errs := invoke("config", "check", "--online", "--config", "bad.yaml")
	require.Equal(t, exitUsage, code)
	require.Empty(t, out)
	require.Contains(t, errs, "kafka.topics: is an unknown key")
}

func TestASignalEndsTheCheckOnlineAtOnce(t *testing.T) {
	t.Parallel()
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", kafkatest.Unused(t).String())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, silent.Close()) })
	w := newWorker(t, build(t), quick([]string{silent.Addr().String()}, "http://127.0.0.1:1").write(t))
	w.start(t, "config", "check", "--online")
	conn, err := silent.Accept()
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()

	w.signal(t, syscall.SIGINT)
	require.Equal(t, exitFailed, w.wait(t))
	require.Contains(t, w.printed(t), "checking online: stopped before the end")
	require.NotContains(t, w.printed(t), "broker", "what was under way is not known")
}
