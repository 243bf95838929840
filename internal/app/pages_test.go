package app

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"cohortsync/internal/braze"
	"cohortsync/internal/catalog"
	"cohortsync/internal/stream"
)

// page is what both pages have in common.
type page struct {
	code    int
	Status  string
	Stuck   []string
	Reasons []string
}

func show(t *testing.T, serve http.HandlerFunc) page {
	t.Helper()
	answer := httptest.NewRecorder()
	serve(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody))
	p := page{code: answer.Code}
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &p))
	return p
}

// One loop of one target hangs in a call to Kafka that does not come back.
func TestHealthIsLostWhileALoopIsStuck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &health{beats: stream.NewBeats(time.Now)}
		kafka := hangingKafka{until: make(chan struct{})}
		random := func(n int64) int64 { return n - 1 }
		target, err := stream.NewTarget(stream.Options{
			Target:     catalog.Target{Name: "US", Identifiers: []catalog.Rule{{From: "user_id", To: catalog.ExternalID}}, Send: catalog.SendAll},
			Timing:     stream.Timing{CommitInterval: time.Second},
			Routes:     catalog.NewRoutes("US", nil),
			Membership: kafka, Log: kafka,
			Throttle:   braze.NewThrottle(catalog.Limit{Requests: 1, Per: time.Second}, braze.ThrottleOptions{Now: time.Now, Rand: random}),
			NewBackOff: func() backoff.BackOff { return braze.NewBackOff(random) },
			Now:        time.Now, Logger: slog.New(slog.DiscardHandler), Metrics: stream.NewMetrics(prometheus.NewRegistry()), Beats: h.beats,
		})
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		answer := sync.OnceFunc(func() { close(kafka.until) })
		var running sync.WaitGroup
		running.Go(func() { err = target.Run(ctx) })
		end := func() { answer(); stop(); running.Wait() }
		defer end()
		synctest.Wait()

		well := page{code: http.StatusOK, Status: "ok"}
		require.Equal(t, well, show(t, h.serveHealth))
		time.Sleep(time.Minute)
		require.Equal(t, well, show(t, h.serveHealth), "a minute may pass between two beats")
		time.Sleep(time.Nanosecond)
		require.Equal(t, page{code: http.StatusServiceUnavailable, Status: "stuck", Stuck: []string{"begin US"}}, show(t, h.serveHealth))

		answer()
		time.Sleep(time.Second)
		require.Equal(t, well, show(t, h.serveHealth), "it goes round again")
		end()
		require.NoError(t, err)
		time.Sleep(time.Hour)
		require.Equal(t, well, show(t, h.serveHealth), "a loop that has ended owes no beat")
	})
}

// hangingKafka is a group of one member with one partition, about which its
// first question is not answered in time, and the others in vain.
type hangingKafka struct {
	stream.Log
	until chan struct{}
}

func (k hangingKafka) Run(ctx context.Context, serve func(context.Context, stream.Generation)) error {
	serve(ctx, k)
	return nil
}

func (k hangingKafka) Assigned() (owned []stream.Assignment, total int) {
	return []stream.Assignment{{Partition: 0, Committed: 0}}, 1
}

func (k hangingKafka) Fresh() bool { return false }

func (k hangingKafka) Commit(context.Context, map[int]int64) error { return nil }

func (k hangingKafka) Bounds(context.Context, []int) (map[int]stream.Bounds, error) {
	<-k.until
	return nil, errors.New("nobody answers")
}

func TestReadinessIsOfWhatTheWorkerItselfCanHelp(t *testing.T) {
	t.Parallel()
	const patience = 30 * time.Second
	joined := targetHealth{Status: stream.Status{Target: "US", Joined: true}, Kafka: "joined", Braze: "ok"}
	with := func(change func(*targetHealth)) []targetHealth {
		changed := joined
		change(&changed)
		return []targetHealth{joined, changed}
	}
	ready := page{code: http.StatusOK, Status: "ready"}
	not := func(reasons ...string) page {
		return page{code: http.StatusServiceUnavailable, Status: "not ready", Reasons: reasons}
	}
	for name, tt := range map[string]struct {
		phase   phase
		targets []targetHealth
		want    page
	}{
		"all targets have joined": {runningPhase, []targetHealth{joined, joined}, ready},
		"it is starting":          {startingPhase, []targetHealth{joined}, not("starting")},
		"it is draining":          {drainingPhase, []targetHealth{joined}, not("draining")},
		"a target has not joined": {
			runningPhase, with(func(h *targetHealth) { h.Target, h.Joined, h.Kafka = "EU", false, "joining" }),
			not("EU: has not joined its consumer group yet"),
		},
		"a target that has joined joins again": {runningPhase, with(func(h *targetHealth) { h.Kafka = "joining" }), ready},
		"no broker for as long as the session timeout": {
			runningPhase, with(func(h *targetHealth) { h.Kafka, h.brokerless = "no broker", patience }), ready,
		},
		"no broker for longer": {
			runningPhase, with(func(h *targetHealth) { h.Target, h.Kafka, h.brokerless = "EU", "no broker", patience+1 }),
			not("EU: no broker for longer than the session timeout"),
		},
		"a target is locked":     {runningPhase, with(func(h *targetHealth) { h.Locked = []string{"refused"} }), ready},
		"Braze fails":            {runningPhase, with(func(h *targetHealth) { h.Braze = "breaker open" }), ready},
		"all reasons are named":  {startingPhase, []targetHealth{{Status: stream.Status{Target: "EU"}, brokerless: time.Hour}}, not("starting", "EU: has not joined its consumer group yet", "EU: no broker for longer than the session timeout")},
		"its changes are behind": {runningPhase, with(func(h *targetHealth) { h.Partitions, h.Pending = 3, 100_000 }), ready},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &health{patience: patience, targets: func() []targetHealth { return tt.targets }}
			h.phase.Store(int32(tt.phase))
			require.Equal(t, tt.want, show(t, h.serveReady))
		})
	}
}
