package app_test

import (
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"cohortsync/internal/app"
	"cohortsync/internal/braze/brazetest"
	"cohortsync/internal/kafkatest"
)

// gate holds requests to Braze until it is opened.
type gate struct {
	http.RoundTripper
	came chan struct{}
	open chan struct{}
	once sync.Once
}

func (g *gate) RoundTrip(r *http.Request) (*http.Response, error) {
	g.once.Do(func() { close(g.came) })
	<-g.open
	return g.RoundTripper.RoundTrip(r)
}

// One worker from its start to its end, by what its pages say.
func TestTheHealthPagesFollowTheWorkersLife(t *testing.T) {
	t.Parallel()
	cluster := kafkatest.Start(t)
	braze := brazetest.New(brazetest.Options{PartnerKey: partnerKey, APIKey: apiKey})
	g := &gate{RoundTripper: braze.Transport(), came: make(chan struct{}), open: make(chan struct{})}
	w := start(t, setup{
		address: cluster.ListenAddrs()[0],
		targets: []target{{name: "One", endpoint: "http://braze.test", cohorts: []string{"c"}}, {name: "Two", endpoint: "http://braze.test", cohorts: []string{"other"}}},
	}, func(d *app.Deps) { d.Transport = g })
	open := sync.OnceFunc(func() { close(g.open) })
	t.Cleanup(open)
	alive := func() {
		t.Helper()
		status, body := w.get(t, "/healthz")
		require.Equal(t, http.StatusOK, status, body)
	}

	r := w.ready(t)
	require.Equal(t, http.StatusServiceUnavailable, r.code, "starting")
	require.Contains(t, r.Reasons, "One: has not joined its consumer group yet")
	require.Contains(t, r.Reasons, "Two: has not joined its consumer group yet")
	alive()

	client := connect(t, cluster)
	kafkatest.CreateTopic(t, client, topic, 2)
	w.awaitReady(t)
	eventually(t, func() bool { return w.ready(t).Targets[0].Partitions == 2 }, "the page tells the partitions")
	r = w.ready(t)
	require.Equal(t, "ready", r.Status)
	require.Empty(t, r.Reasons)
	require.Equal(t, "joined", r.Targets[0].Kafka)
	require.Equal(t, "ok", r.Targets[0].Braze)
	alive()

	// A request is under way when the worker is told to stop.
	produce(t, client, entered("c", "a"))
	<-g.came
	w.stop()
	eventually(t, func() bool { return w.ready(t).code == http.StatusServiceUnavailable }, "draining is told")
	require.Contains(t, w.ready(t).Reasons, "draining")
	alive()
	open()
	w.wait(t)
	require.NoError(t, w.err)
	require.Equal(t, "The cohort c", braze.Name("c"), "the request under way was finished")
}

func TestAMemberWithoutPartitionsIsReady(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	braze, url := startBraze(t, brazetest.Options{})
	first := startMain(t, cluster, target{endpoint: url})
	second := startMain(t, cluster, target{endpoint: url})
	owned := func(w *worker) float64 { return w.metric(t, "partitions_owned") }
	eventually(t, func() bool { return owned(first)+owned(second) == 1 }, "one of them owns the partition")
	produce(t, connect(t, cluster), entered("c", "a"))
	awaitMembers(t, braze, "c", "a")
	for _, w := range []*worker{first, second} {
		require.Equal(t, http.StatusOK, w.ready(t).code)
		status, body := w.get(t, "/healthz")
		require.Equal(t, http.StatusOK, status, body)
	}
}

func TestAStopIsCleanAndCommitsWhatWasDelivered(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 2)
	braze, url := startBraze(t, brazetest.Options{})
	w := startMain(t, cluster, target{endpoint: url})
	produce(t, connect(t, cluster), on(0, entered("c", "a")), on(1, entered("d", "b")))
	awaitMembers(t, braze, "c", "a")
	awaitMembers(t, braze, "d", "b")
	w.stop()
	w.wait(t)
	require.NoError(t, w.err)
	require.Equal(t, end(cluster, topic), committed(cluster, group))
	info := cluster.GroupInfo(group)
	require.NotNil(t, info)
	require.Equal(t, "Empty", info.State, "it has left the group")
}
