package app_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/require"

	"cohortsync/internal/braze/brazetest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	goldenMetrics = "testdata/metrics.golden"
	metricsPage   = "../../docs/metrics.md"
)

// startTwoTargets runs a worker whose feeds have begun and that has sent
// nothing.
func startTwoTargets(t *testing.T) *worker {
	t.Helper()
	cluster := startKafka(t, 2)
	_, url := startBraze(t, brazetest.Options{})
	w := start(t, setup{cluster: cluster, targets: []target{
		{name: "First", endpoint: url}, {name: "Second", endpoint: url, apiKey: "${env:OTHER_KEY}", cohorts: []string{"c1", "c2"}},
	}})
	eventually(t, func() bool { return w.metric(t, "partitions_owned") == 4 }, "both targets own both partitions")
	return w
}

// listing lists name, type and labels of every metric of ours.
func (w *worker) listing(t *testing.T) string {
	t.Helper()
	families, err := w.registry.Gather()
	require.NoError(t, err)
	var b strings.Builder
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "cohortsync_") {
			continue
		}
		var labels []string
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName())
			}
		}
		slices.Sort(labels)
		fmt.Fprintf(&b, "%s %s %s\n", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(slices.Compact(labels), ","))
	}
	return b.String()
}

// Dashboards and alerts hang on these names. To change them on purpose, run
// the test with -update.
func TestMetricsAreThoseOfTheGoldenFile(t *testing.T) {
	t.Parallel()
	got := startTwoTargets(t).listing(t)
	if *update {
		require.NoError(t, os.WriteFile(goldenMetrics, []byte(got), 0o600))
	}
	want, err := os.ReadFile(goldenMetrics)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

func TestMetricsFollowPrometheusConventions(t *testing.T) {
	t.Parallel()
	w := startTwoTargets(t)
	families, err := w.registry.Gather()
	require.NoError(t, err)
	ours := families[:0]
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "cohortsync_") {
			ours = append(ours, f)
		}
	}
	problems, err := promlint.NewWithMetricFamilies(ours).Lint()
	require.NoError(t, err)
	require.Empty(t, problems)
	for _, f := range ours {
		require.NotEmpty(t, f.GetHelp(), f.GetName())
		require.True(t, strings.HasSuffix(f.GetHelp(), "."), "the help of %s is no sentence", f.GetName())
	}

	t.Run("to promtool as well", func(t *testing.T) {
		t.Parallel()
		promtool, err := exec.LookPath("promtool")
		if err != nil {
			t.Skip("promtool is not in PATH; its linter in client_golang has passed")
		}
		_, page := w.get(t, "/metrics")
		check := exec.CommandContext(t.Context(), promtool, "check", "metrics")
		check.Stdin = strings.NewReader(page)
		out, err := check.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Empty(t, bytes.TrimSpace(out))
	})
}

func TestEveryMetricIsThereBeforeAnythingWasSent(t *testing.T) {
	t.Parallel()
	w := startTwoTargets(t)
	s := w.gather(t)
	for _, target := range []string{"First", "Second"} {
		for _, series := range []string{
			"changes_skipped_total{reason=unsynced_cohort,target=" + target + "}",
			"changes_skipped_total{reason=too_long,target=" + target + "}",
			"records_undecodable_total{reason=not_json,target=" + target + "}",
			"computed_time_replaced_total{reason=ahead,target=" + target + "}",
			"target_locked{reason=refused,target=" + target + "}",
			"braze_requests_total{class=unexpected,endpoint=users,target=" + target + "}",
			"batches_total{reason=linger,target=" + target + "}",
			"dead_letters_total{stage=decode,target=" + target + "}",
		} {
			v, there := s[series]
			require.True(t, there, series)
			require.Zero(t, v, series)
		}
	}
}

func TestTheVersionIsToldToPrometheusAndToBraze(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	braze, url := startBraze(t, brazetest.Options{})
	w := startMain(t, cluster, target{endpoint: url})
	require.Equal(t, 1.0, w.gather(t)["build_info{version=test}"])
	produce(t, connect(t, cluster), entered("c", "a"))
	awaitMembers(t, braze, "c", "a")
	for _, request := range braze.History() {
		require.Equal(t, "partner-Cohortsync-Cohortsync/test", request.UserAgent)
	}
}

var (
	goldenLine = regexp.MustCompile(`(?m)^(\S+) (\S+) (\S*)$`)
	pageRow    = regexp.MustCompile("(?m)^\\| `(cohortsync_\\w+)` \\| (\\w+) \\| ([^|]*) \\| ([^|]+) \\|$")
)

func TestTheMetricsPageNamesEveryMetric(t *testing.T) {
	t.Parallel()
	golden, err := os.ReadFile(goldenMetrics)
	require.NoError(t, err)
	page, err := os.ReadFile(metricsPage)
	require.NoError(t, err)
	var want, got []string
	for _, m := range goldenLine.FindAllStringSubmatch(string(golden), -1) {
		want = append(want, m[1]+" "+m[2]+" "+m[3])
	}
	for _, m := range pageRow.FindAllStringSubmatch(string(page), -1) {
		labels := strings.ReplaceAll(strings.ReplaceAll(m[3], "`", ""), ", ", ",")
		got = append(got, m[1]+" "+m[2]+" "+strings.TrimSpace(labels))
		require.NotEmpty(t, strings.TrimSpace(m[4]), m[1])
	}
	slices.Sort(got)
	require.Equal(t, want, got)
}
