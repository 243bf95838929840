package app_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cohortsync/internal/app"
	"cohortsync/internal/braze/brazetest"
	"cohortsync/internal/kafkatest"
)

// group is the consumer group of the target Main.
const group = "cohortsync.main"

// startMain runs a worker with the one target Main, and waits until it reads.
func startMain(t *testing.T, cluster kafkatest.Broker, main target) *worker {
	t.Helper()
	main.name = "Main"
	w := start(t, setup{cluster: cluster, targets: []target{main}})
	w.awaitReady(t)
	return w
}

// faulty has Braze misbehave in one way until it is mended.
func faulty(braze *brazetest.Server, fault brazetest.Fault) (mend func()) {
	var mended atomic.Bool
	braze.Script(func(brazetest.Request) brazetest.Fault {
		if mended.Load() {
			return brazetest.Fault{}
		}
		return fault
	})
	return func() { mended.Store(true) }
}

// Whatever answers in Braze's place: nothing counts as delivered, nothing is
// given up, and it goes on by itself.
func TestAnswersThatAreNotBrazesAreTriedAgain(t *testing.T) {
	t.Parallel()
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(other.Close)

	for _, row := range []struct {
		name  string
		fault brazetest.Fault
		class string
	}{
		{"a page for people", brazetest.Answer(http.StatusOK, brazetest.HTMLPage), "unexpected"},
		{"an error page", brazetest.Answer(http.StatusBadGateway, brazetest.HTMLPage), "unreachable"},
		{"an endless body", brazetest.Fault{Kind: brazetest.Endless}, "unexpected"},
		{"a body that stalls", brazetest.Fault{Kind: brazetest.Stalled}, "unreachable"},
		{"a redirect", brazetest.Redirect(other.URL + "/partners/amplitude/cohorts"), "unexpected"},
		{"a redirect that keeps the method", brazetest.Fault{
			Kind: brazetest.Answered, Status: http.StatusPermanentRedirect, Header: http.Header{"Location": {other.URL}},
		}, "unexpected"},
		{"a cut connection", brazetest.Fault{Kind: brazetest.Reset}, "unreachable"},
		{"an unknown status", brazetest.Answer(http.StatusTeapot, `{"message":"I'm a teapot"}`), "unexpected"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			cluster := startKafka(t, 1)
			braze, url := startBraze(t, brazetest.Options{})
			mend := faulty(braze, row.fault)
			w := startMain(t, cluster, target{endpoint: url})
			produce(t, connect(t, cluster), entered("c", "a", "b"))

			eventually(t, func() bool { return w.metric(t, "retries_total", "class="+row.class) >= 2 }, "it was tried again")
			require.Equal(t, http.StatusOK, w.ready(t).code, "a failing Braze does not make the worker unready")
			require.Zero(t, committed(t, cluster, group), "offsets stay")
			require.Zero(t, w.metric(t, "changes_delivered_total"))
			require.Equal(t, 2.0, w.metric(t, "changes_pending"))

			mend()
			awaitMembers(t, braze, "c", "a", "b")
			awaitCommitted(t, cluster, group)
			require.Equal(t, row.class == "unexpected", w.metric(t, "braze_requests_total", "class=unexpected") > 0)
			require.Zero(t, w.metric(t, "target_locks_total"))
			require.Zero(t, end(t, cluster, dead))
			w.keepsSecrets(t)
		})
	}
	t.Cleanup(func() { require.Zero(t, elsewhere.Load(), "a redirect was followed") })
}

// With the greatest jitter the waits are their own bounds: they double up to a
// minute, and there is no end to them. Each one who waits begins anew.
func TestTargetsWaitWithFullJitterForEver(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	_, url := startBraze(t, brazetest.Options{})
	w := start(t, setup{cluster: cluster, targets: []target{{name: "Main", endpoint: url}}}, func(d *app.Deps) {
		d.Random = func(n int64) int64 { return n - 1 }
	})
	for range 2 {
		wait := w.Targets()[0].NewBackOff()
		for _, seconds := range []float64{.5, 1, 2, 4, 8, 16, 32} {
			require.Equal(t, seconds, wait.NextBackOff().Seconds())
		}
		for range 1_000 {
			require.Equal(t, time.Minute, wait.NextBackOff())
		}
	}
}

func TestABrazeHostThatDoesNotResolveIsToldAndWaitedFor(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	// RFC 2606 keeps the name from ever resolving.
	w := startMain(t, cluster, target{endpoint: "http://rest.braze.invalid"})
	produce(t, connect(t, cluster), entered("c", "a"))

	eventually(t, func() bool { return w.metric(t, "braze_breaker_open") == 1 }, "the breaker opens")
	require.GreaterOrEqual(t, w.metric(t, "braze_requests_total", "class=unreachable"), 5.0)
	r := w.ready(t)
	require.Equal(t, http.StatusOK, r.code)
	require.Equal(t, "breaker open", r.Targets[0].Braze)
	require.Equal(t, 1.0, w.metric(t, "changes_pending"))
	require.Zero(t, committed(t, cluster, group))
	w.keepsSecrets(t)
}

func TestAWrongKeyLocksTheTargetAndIsTold(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	braze, url := startBraze(t, brazetest.Options{APIKey: "what-braze-wants"})
	w := startMain(t, cluster, target{endpoint: url})
	client := connect(t, cluster)
	produce(t, client, entered("c", "a"))

	eventually(t, func() bool { return w.metric(t, "target_locked", "reason=refused") == 1 }, "the target is locked")
	r := w.ready(t)
	require.Equal(t, http.StatusOK, r.code, "restarting the worker would mend nothing")
	require.Equal(t, []string{"refused"}, r.Targets[0].Locked)
	w.logged(t, 1, "ERROR", "the target is locked", "401 Unauthorized")
	// The probe goes on, alone and silent.
	eventually(t, func() bool { return w.metric(t, "braze_requests_total", "class=refused") >= 3 }, "it is probed")
	w.logged(t, 1, "the target is locked")
	require.Equal(t, 1.0, w.metric(t, "target_locks_total"))
	require.Zero(t, committed(t, cluster, group), "offsets stay")
	require.Zero(t, end(t, cluster, dead), "nobody is at fault")
	w.keepsSecrets(t) // Braze echoes the key in its 401.

	braze.SetKeys(partnerKey, apiKey)
	awaitMembers(t, braze, "c", "a")
	eventually(t, func() bool { return w.ready(t).Targets[0].Locked == nil }, "the lock is gone from the page")
	w.logged(t, 1, "the target is unlocked")
}

func TestAKeyThatIsRotatedInItsFileTakesEffectByItself(t *testing.T) {
	t.Parallel()
	const newKey = "the-new-key-that-nobody-may-see"
	file := filepath.Join(t.TempDir(), "braze-key")
	require.NoError(t, os.WriteFile(file, []byte(apiKey+"\n"), 0o600))
	cluster := startKafka(t, 1)
	braze, url := startBraze(t, brazetest.Options{})
	w := startMain(t, cluster, target{endpoint: url, apiKey: fmt.Sprintf("${file:%s}", file)})
	client := connect(t, cluster)
	produce(t, client, entered("c", "before"))
	awaitMembers(t, braze, "c", "before")

	braze.SetKeys(partnerKey, newKey)
	produce(t, client, entered("c", "while"), left("c", "before"))
	eventually(t, func() bool { return w.metric(t, "target_locked", "reason=refused") == 1 }, "the target is locked")
	produce(t, client, entered("c", "after"))
	require.NoError(t, os.WriteFile(file, []byte(newKey+"\n"), 0o600))

	awaitMembers(t, braze, "c", "while", "after")
	awaitCommitted(t, cluster, group)
	require.Zero(t, w.metric(t, "target_locked"))
	require.Zero(t, end(t, cluster, dead))
	require.Empty(t, braze.Violations())
	w.keepsSecrets(t, newKey)
}

func TestAKeyFileThatIsGoneLocksTheTargetUntilItIsBack(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "braze-key")
	require.NoError(t, os.WriteFile(file, []byte("revoked"), 0o600))
	cluster := startKafka(t, 1)
	braze, url := startBraze(t, brazetest.Options{})
	w := startMain(t, cluster, target{endpoint: url, apiKey: fmt.Sprintf("${file:%s}", file)})
	require.NoError(t, os.Remove(file))
	produce(t, connect(t, cluster), entered("c", "a"))
	eventually(t, func() bool { return w.metric(t, "target_locked", "reason=refused") == 1 }, "the target is locked")
	w.logged(t, 1, "ERROR", "reading the credentials")
	require.Empty(t, braze.History(), "nothing is sent without a key")

	require.NoError(t, os.WriteFile(file, []byte(apiKey), 0o600))
	awaitMembers(t, braze, "c", "a")
}

// A 400 about everybody is a fault of ours or of Braze's, not of ten users.
func TestA400AboutEverybodyLocksAndDeadLettersNobody(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	braze, url := startBraze(t, brazetest.Options{})
	var mended atomic.Bool
	braze.Script(func(r brazetest.Request) brazetest.Fault {
		if r.Naming || len(r.Ops) == 0 || mended.Load() {
			return brazetest.Fault{}
		}
		return brazetest.Answer(http.StatusBadRequest, `{"message":"Something about your users is wrong"}`)
	})
	w := startMain(t, cluster, target{endpoint: url})
	users := names("u", 12)
	produce(t, connect(t, cluster), entered("c", users...))

	eventually(t, func() bool { return w.metric(t, "target_locked", "reason=invalid") == 1 }, "the target is locked")
	require.Equal(t, []string{"invalid"}, w.ready(t).Targets[0].Locked)
	w.logged(t, 1, "ERROR", "the target is locked", "Something about your users is wrong")
	require.Zero(t, committed(t, cluster, group), "offsets stay")

	mended.Store(true)
	awaitMembers(t, braze, "c", users...)
	awaitCommitted(t, cluster, group)
	require.Zero(t, end(t, cluster, dead))
	require.Equal(t, 12.0, w.metric(t, "changes_delivered_total"))
}

func TestThoseAtFaultGoToTheDeadLetterTopicAndTheOthersToBraze(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	braze, url := startBraze(t, brazetest.Options{Bad: isBad})
	w := startMain(t, cluster, target{endpoint: url})
	source := entered("c", "a", "bad-1", "b", "bad-2", "c")
	client := connect(t, cluster)
	produce(t, client, source)
	awaitMembers(t, braze, "c", "a", "b", "c")
	awaitCommitted(t, cluster, group)

	letter := letters(t, cluster, 1)[0]
	require.JSONEq(t, `{"cohort_id":"c","cohort_name":"The cohort c","in_cohort":true,"users":[{"user_id":"bad-1"},{"user_id":"bad-2"}]}`,
		string(letter.Value))
	require.Equal(t, "c", string(letter.Key))
	for name, want := range map[string]string{
		"stage": "deliver", "reason": "refused_by_braze", "status": "400", "target": "Main", "sync": "sync of *", "offset": "0",
		"identifiers": `[{"kind":"external_id","value":"bad-1"},{"kind":"external_id","value":"bad-2"}]`,
	} {
		require.Equal(t, want, header(letter, name), name)
	}
	require.Contains(t, header(letter, "message"), "400 Bad Request")
	require.Equal(t, 2.0, w.metric(t, "changes_dead_lettered_total"))
	require.Equal(t, 3.0, w.metric(t, "changes_delivered_total"))
}
