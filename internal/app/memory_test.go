package app_test

import (
	"net/http"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"cohortsync/internal/braze/brazetest"
)

// heap returns the bytes of live objects.
func heap() int64 {
	runtime.GC()
	runtime.GC() // The first one leaves what pools held.
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// It runs alone, before the parallel tests, for it measures the heap.
func TestMemoryStaysWithinItsBoundWhileBrazeIsDown(t *testing.T) { //nolint:paralleltest // See above.
	const (
		partitions = 4
		changes    = 200_000
		aRecord    = 1_000
		maxMemory  = 1 << 20
		// A feed may always hold one batch, whatever the others hold: 1,000
		// identifiers of some 160 bytes.
		bound = maxMemory + partitions*1_000*160
		// The worker's own heap, with its budget, buffers of kafka-go and
		// net/http, and metrics. Without the bound it would be some 40 MB more.
		heapBound = 12 << 20
	)
	cluster := startKafka(t, partitions)
	braze, url := startBraze(t, brazetest.Options{HistoryLimit: 1})
	mend := faulty(braze, brazetest.Answer(http.StatusServiceUnavailable, ""))
	client := connect(t, cluster)
	cohorts := []string{"c0", "c1", "c2", "c3"}
	users := names("a-user-with-an-id", changes/partitions)
	for p, cohort := range cohorts {
		for i := 0; i < len(users); i += aRecord {
			produce(t, client, on(int32(p), entered(cohort, users[i:i+aRecord]...)))
		}
	}
	before := heap()

	w := start(t, setup{
		cluster: cluster, delivery: ", max_memory: 1MiB",
		targets: []target{{name: "Main", endpoint: url}},
	})
	most := 0.0
	look := func() sample {
		s := w.gather(t)
		most = max(most, s.sum("memory_used_bytes"))
		return s
	}
	// Reading has stopped when nothing is read any more although much is left,
	// while requests go on failing.
	eventually(t, func() bool {
		s := look()
		return s.sum("braze_requests_total", "class=unreachable") >= 10 && s.sum("memory_used_bytes") > .8*maxMemory
	}, "the memory is full and Braze still down")
	read := w.metric(t, "records_total")
	failed := w.metric(t, "braze_requests_total", "class=unreachable")
	eventually(t, func() bool {
		return look().sum("braze_requests_total", "class=unreachable") >= failed+5
	}, "some more requests have failed")
	require.Equal(t, read, w.metric(t, "records_total"), "reading has stopped")
	require.Less(t, read, float64(changes/aRecord)/2)
	require.LessOrEqual(t, most, float64(bound), "memory_used_bytes")
	grown := heap() - before
	t.Logf("the heap has grown by %d KiB, memory_used_bytes was %.0f KiB at most", grown>>10, most/1024)
	require.Less(t, grown, int64(heapBound))
	require.Equal(t, http.StatusOK, w.ready(t).code)

	mend()
	for _, cohort := range cohorts {
		eventually(t, func() bool { look(); return braze.Count(cohort) == changes/partitions }, "%s is delivered", cohort)
	}
	awaitCommitted(t, cluster, group)
	require.LessOrEqual(t, most, float64(bound), "memory_used_bytes while it catches up")
	require.Equal(t, float64(changes), w.metric(t, "changes_delivered_total"))
	require.Zero(t, end(t, cluster, dead))
}
