package app_test

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

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
		cluster: cluster,
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
	cluster.Admin().CreateTopic(t, topic, 2)
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
	require.Equal(t, end(t, cluster, topic), committed(t, cluster, group))
	require.Equal(t, "Empty", cluster.Admin().Group(t, group).State, "it has left the group")
}

// The clock stands still once the broker is to go, and is then set: that the
// broker has been away for a session timeout is nothing to wait for.
func TestAWorkerIsReadyWithoutABrokerForASessionTimeout(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "a broker that goes", 1)
	_, url := startBraze(t, brazetest.Options{})
	var stopped atomic.Pointer[time.Time]
	w := start(t, setup{cluster: cluster, targets: []target{{name: "Main", endpoint: url}}}, func(d *app.Deps) {
		d.Now = func() time.Time {
			if at := stopped.Load(); at != nil {
				return *at
			}
			return time.Now()
		}
	})
	w.awaitReady(t)

	before := time.Now()
	stopped.Store(&before)
	cluster.Close()
	eventually(t, func() bool { return w.ready(t).Targets[0].Kafka == "no broker" }, "the broker is missed")
	after := time.Now()

	const session = 6 * time.Second
	still := before.Add(session) // The broker was missed later than that.
	stopped.Store(&still)
	r := w.ready(t)
	require.Equal(t, http.StatusOK, r.code, r.text)
	require.Equal(t, "no broker", r.Targets[0].Kafka)
	require.NotEmpty(t, r.Targets[0].Error)

	over := after.Add(session + 1)
	stopped.Store(&over)
	r = w.ready(t)
	require.Equal(t, http.StatusServiceUnavailable, r.code)
	require.Equal(t, []string{"Main: no broker for longer than the session timeout"}, r.Reasons)
}

// Were it otherwise, each deploy of one worker would make all others unready.
func TestAWorkerStaysReadyWhileItsGroupRebalances(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "a request that it holds back", 2)
	braze, url := startBraze(t, brazetest.Options{})
	w := startMain(t, cluster, target{endpoint: url})

	// The first to join is the newcomer, the second is this worker, again.
	held, letGo := holdJoin(t, cluster, 2)
	newcomer := start(t, setup{cluster: cluster, targets: []target{{name: "Main", endpoint: url}}})
	<-held
	for range 20 {
		r := w.ready(t)
		require.Equal(t, http.StatusOK, r.code, r.text)
		require.Equal(t, "joining", r.Targets[0].Kafka)
		require.Zero(t, r.Targets[0].Partitions)
		require.Equal(t, http.StatusServiceUnavailable, newcomer.ready(t).code, "who has never joined is not ready")
	}
	letGo()

	newcomer.awaitReady(t)
	require.Equal(t, http.StatusOK, w.ready(t).code)
	produce(t, connect(t, cluster), on(0, entered("c", "a")), on(1, entered("d", "b")))
	awaitMembers(t, braze, "c", "a")
	awaitMembers(t, braze, "d", "b")
}

// holdJoin makes the broker sit on the n-th request to join from now on, until
// it is let go, at the end of the test at the latest. held says that it has
// come.
func holdJoin(t *testing.T, cluster *kafkatest.Embedded, n int64) (held <-chan struct{}, letGo func()) {
	t.Helper()
	came, free := make(chan struct{}), make(chan struct{})
	letGo = sync.OnceFunc(func() { close(free) })
	var joins atomic.Int64
	cluster.ControlKey(int16(kmsg.JoinGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
		if joins.Add(1) == n {
			cluster.SleepControl(func() { close(came); <-free })
		}
		return nil, nil, false
	})
	t.Cleanup(letGo)
	return came, letGo
}
