//go:build unix

package main

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"cohortsync/internal/braze/brazetest"
	"cohortsync/internal/kafkatest"
)

// inFlight is a worker with one request in flight for each of two cohorts, in
// a partition each, and one more change of each that waits behind it.
type inFlight struct {
	*worker
	kafka kafkatest.Broker
	braze *brazetest.Server
	// answer lets Braze answer.
	answer func()
}

func startInFlight(t *testing.T, binary string) inFlight {
	t.Helper()
	kafka := startKafka(t, 2)
	braze, gate, url := startBraze(t, brazetest.Options{})
	held, open := gate.close(t)
	w := newWorker(t, binary, settings{
		braze:   url,
		session: 30 * time.Second, drain: 20 * time.Second, request: 15 * time.Second,
	}.on(kafka).write(t))
	w.start(t)
	producer := client(t, kafka)
	send := func(u user) {
		for n := range int32(2) {
			cohort := cohortName(int(n))
			r := &kgo.Record{Partition: n, Key: []byte(cohort), Value: payload(cohort, true, time.Now().UnixMicro(), []user{u})}
			require.NoError(t, producer.ProduceSync(t.Context(), r).FirstErr())
		}
	}
	send(10)
	for range 2 {
		select {
		case <-held:
		case <-time.After(patience):
			require.FailNow(t, "no request has left")
		}
	}
	send(12)
	w.pending(t, 4)
	return inFlight{w, kafka, braze, open}
}

// requireCommitted says which offset each partition is committed at.
func (f inFlight) requireCommitted(t *testing.T, offset int64) {
	t.Helper()
	require.Equal(t, map[int32]int64{0: offset, 1: offset}, f.kafka.Admin().Committed(t, group, topic))
}

func TestASignal(t *testing.T) {
	t.Parallel()
	binary := build(t)
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(s.String()+" finishes what is in flight, commits exactly that and leaves", func(t *testing.T) {
			t.Parallel()
			w := startInFlight(t, binary)
			w.signal(t, s)
			w.says(t, "stopping: ")
			w.answer()
			require.Equal(t, exitDone, w.wait(t))
			for n := range 2 {
				require.Len(t, w.braze.Members(cohortName(n)), 1)
			}
			w.requireCommitted(t, 1)
			require.Empty(t, w.kafka.Admin().Group(t, group).Members)
			require.Empty(t, w.braze.Violations())
		})
	}
	t.Run("a second one stops at once and does not leave", func(t *testing.T) {
		t.Parallel()
		w := startInFlight(t, binary)
		w.signal(t, syscall.SIGTERM)
		w.says(t, "stopping: ")
		w.signal(t, syscall.SIGTERM)
		require.Equal(t, exitFailed, w.wait(t))
		w.requireCommitted(t, 0)
		require.Len(t, w.kafka.Admin().Group(t, group).Members, 1)
	})
	t.Run("SIGQUIT shows the goroutines and no secret", func(t *testing.T) {
		t.Parallel()
		w := startInFlight(t, binary)
		for _, page := range []string{"/metrics", "/readyz", "/healthz"} {
			status, body := w.get(t, page)
			require.Equal(t, 200, status, "%s: %s", page, body)
		}
		w.signal(t, syscall.SIGQUIT)
		require.Equal(t, exitUsage, w.wait(t), "Go's own exit code")
		require.Contains(t, w.printed(t), "goroutine ")
		g := w.kafka.Admin().Group(t, group)
		require.Equal(t, "Stable", g.State)
		require.Len(t, g.Members, 1, "it has not left")
	})
}
