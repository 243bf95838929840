package app_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"cohortsync/internal/braze/brazetest"
	"cohortsync/internal/catalog"
)

func isBad(id catalog.Identifier) bool { return strings.HasPrefix(id.Value, "bad-") }

// Each target has its own group, memory and throttle: what befalls one is
// none of the other's business.
func TestATargetInTroubleDelaysNoOther(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		// trouble starts and returns what ends it.
		trouble func(t *testing.T, braze *brazetest.Server, front *httptest.Server) (mend func())
		// shows is what the worker tells of the target by then.
		shows func(s sample) bool
	}{
		{
			"locked",
			func(_ *testing.T, braze *brazetest.Server, _ *httptest.Server) func() {
				braze.SetKeys(partnerKey, "another")
				return func() { braze.SetKeys(partnerKey, apiKey) }
			},
			func(s sample) bool { return s.sum("target_locked", "target=Troubled") == 1 },
		},
		{
			"too slow to answer in time",
			func(_ *testing.T, braze *brazetest.Server, _ *httptest.Server) func() {
				braze.SetFaults(brazetest.Faults{Latency: time.Hour})
				return func() { braze.SetFaults(brazetest.Faults{}) }
			},
			func(s sample) bool {
				return s.sum("braze_requests_total", "target=Troubled", "class=unreachable") > 0
			},
		},
		{
			"down",
			func(_ *testing.T, braze *brazetest.Server, _ *httptest.Server) func() {
				braze.SetFaults(brazetest.Faults{Reset: 1})
				return func() { braze.SetFaults(brazetest.Faults{}) }
			},
			func(s sample) bool {
				return s.sum("braze_requests_total", "target=Troubled", "class=unreachable") > 0
			},
		},
		{
			"full",
			func(_ *testing.T, braze *brazetest.Server, _ *httptest.Server) func() {
				braze.SetFaults(brazetest.Faults{ServerError: 1})
				return func() { braze.SetFaults(brazetest.Faults{}) }
			},
			// 1 MiB for both: some 3,000 changes fill a half.
			func(s sample) bool {
				return s.sum("memory_used_bytes", "target=Troubled") > 400_000 && s.sum("braze_breaker_open", "target=Troubled") == 1
			},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			cluster := startKafka(t, 2)
			healthy, healthyURL := startBraze(t, brazetest.Options{})
			troubled := brazetest.New(brazetest.Options{PartnerKey: partnerKey, APIKey: apiKey})
			front := troubled.Start()
			t.Cleanup(front.Close)
			mend := row.trouble(t, troubled, front)
			w := start(t, setup{
				cluster: cluster, delivery: ", max_memory: 1MiB",
				targets: []target{{name: "Troubled", endpoint: front.URL}, {name: "Healthy", endpoint: healthyURL}},
			})
			client := connect(t, cluster)
			users := names("u", 10_000)
			for i := 0; i < len(users); i += 500 {
				produce(t, client, on(int32(i/500%2), entered("c", users[i:i+500]...)))
			}
			awaitMembers(t, healthy, "c", users...)
			awaitCommitted(t, cluster, "cohortsync.healthy")
			eventually(t, func() bool { return row.shows(w.gather(t)) }, "the trouble shows")
			require.Zero(t, troubled.Count("c"), "the other target has had nothing yet")
			require.Less(t, committed(t, cluster, "cohortsync.troubled"), committed(t, cluster, "cohortsync.healthy"))

			mend()
			awaitMembers(t, troubled, "c", users...)
			awaitCommitted(t, cluster, "cohortsync.troubled")
			require.Zero(t, end(t, cluster, dead))
		})
	}
}

// Each target reads by itself and settles by itself, and a letter says whose it
// is: a redrive of one target must not depend on what the other did.
func TestARecordThatCannotBeDecodedIsALetterOfEachTarget(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 2)
	braze, url := startBraze(t, brazetest.Options{})
	w := start(t, setup{cluster: cluster, targets: []target{
		{name: "One", endpoint: url, cohorts: []string{"c"}}, {name: "Two", endpoint: url, cohorts: []string{"d"}},
	}})
	w.awaitReady(t)
	source := on(1, &kgo.Record{Key: []byte("k"), Value: []byte("not json")})
	produce(t, connect(t, cluster), source, on(1, entered("c", "a")), on(1, entered("d", "b")))
	awaitCommitted(t, cluster, "cohortsync.one")
	awaitCommitted(t, cluster, "cohortsync.two")
	awaitMembers(t, braze, "c", "a")
	awaitMembers(t, braze, "d", "b")

	var whose []string
	for _, letter := range letters(t, cluster, 2) {
		whose = append(whose, header(letter, "target"))
		require.Equal(t, "not json", string(letter.Value))
		require.Equal(t, "k", string(letter.Key))
		require.Equal(t, "decode", header(letter, "stage"))
		require.Equal(t, "not_json", header(letter, "reason"))
		require.Equal(t, "1", header(letter, "partition"))
		require.Equal(t, fmt.Sprint(source.Offset), header(letter, "offset"))
	}
	require.ElementsMatch(t, []string{"One", "Two"}, whose)
	for _, name := range []string{"One", "Two"} {
		require.Equal(t, 1.0, w.metric(t, "dead_letters_total", "target="+name, "stage=decode"))
		require.Equal(t, 1.0, w.metric(t, "records_undecodable_total", "target="+name, "reason=not_json"))
	}
}

func TestTargetsWithOneCredentialShareOneLimit(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	braze, url := startBraze(t, brazetest.Options{})
	// Four requests, and then none within this test's life.
	const limit = "    rate_limit: {requests: 4, per: 1h, burst: 4}"
	w := start(t, setup{cluster: cluster, targets: []target{
		{name: "One", endpoint: url, cohorts: []string{"a", "b", "c"}, more: limit},
		{name: "Two", endpoint: url, cohorts: []string{"d", "e", "f"}, more: limit},
	}})
	w.awaitReady(t)
	client := connect(t, cluster)
	for _, cohort := range []string{"a", "b", "c", "d", "e", "f"} {
		produce(t, client, entered(cohort, "u"))
	}
	eventually(t, func() bool { return len(braze.History()) == 4 && w.metric(t, "records_total") == 12 }, "the limit is spent")
	// What is held back stays so until the end.
	w.stop()
	w.wait(t)
	require.NoError(t, w.err)
	require.Len(t, braze.History(), 4, "two limits would have let eight pass")
}

func TestA429ToOneTargetHoldsAllThatUseItsCredential(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	braze, url := startBraze(t, brazetest.Options{})
	w := start(t, setup{cluster: cluster, targets: []target{
		{name: "One", endpoint: url, cohorts: []string{"a"}},
		{name: "Two", endpoint: url, cohorts: []string{"b"}},
		{name: "Apart", endpoint: url, apiKey: "${env:OTHER_KEY}", cohorts: []string{"c"}},
	}})
	w.awaitReady(t)
	braze.SetKeys("", "")
	braze.SetFaults(brazetest.Faults{Limited: 1})
	produce(t, connect(t, cluster), entered("a", "u"))
	eventually(t, func() bool { return w.metric(t, "braze_requests_total", "target=One", "class=limited") > 0 }, "One is told to wait")
	s := w.gather(t)
	require.Positive(t, s.sum("braze_held_until_timestamp_seconds", "target=One"))
	require.Equal(t, s.sum("braze_held_until_timestamp_seconds", "target=One"), s.sum("braze_held_until_timestamp_seconds", "target=Two"))
	require.Zero(t, s.sum("braze_held_until_timestamp_seconds", "target=Apart"))
	for _, target := range w.ready(t).Targets {
		if target.Target == "Apart" {
			require.Equal(t, "ok", target.Braze)
		} else {
			require.Contains(t, target.Braze, "held until")
		}
	}
}
