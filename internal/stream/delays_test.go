package stream

import (
	"math"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"pgregory.net/rapid"
)

// TestDelaysAreThoseOfAnOrdinaryHistogram holds our histogram to client_golang's
// own, with the same edges and the same schema.
func TestDelaysAreThoseOfAnOrdinaryHistogram(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		edges := delayEdges()
		theirs := prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "h", Buckets: edges[:], NativeHistogramBucketFactor: math.Exp2(1.0 / 8), NativeHistogramZeroThreshold: prometheus.NativeHistogramZeroThresholdZero,
		})
		var ours delays
		seconds := rapid.OneOf(
			rapid.Float64Range(0, 1), rapid.Float64Range(.4, .6), rapid.Float64Range(0, 1e6), rapid.SampledFrom(append(edges[:], 0, .001, .5, 2, 1024, 1<<20)),
			rapid.Map(rapid.IntRange(-18<<3, 26<<3), func(i int) float64 { return math.Exp2(float64(i) / 8) }),
		)
		for range rapid.IntRange(0, 30).Draw(t, "observations") {
			s, n := seconds.Draw(t, "seconds"), rapid.IntRange(1, 3).Draw(t, "times")
			if rapid.Bool().Draw(t, "like the last one") {
				last := rapid.SampledFrom([]float64{ours.last.above, ours.last.upTo}).Draw(t, "bound")
				s = last * rapid.SampledFrom([]float64{1, 1 - 1e-9, 1 + 1e-9, 1.04, .96}).Draw(t, "near it")
			}
			if s > 0 && s < 1e-6 {
				continue // Ours end at a microsecond, which is finer than any of the times.
			}
			ours.observe(s, uint64(n), &edges)
			for range n {
				theirs.Observe(s)
			}
		}
		var got, want dto.Metric
		desc := prometheus.NewDesc("h", "", nil, nil)
		if err := ours.metric(desc, time.Now()).Write(&got); err != nil {
			t.Fatal(err)
		}
		if err := theirs.Write(&want); err != nil {
			t.Fatal(err)
		}
		g, w := got.GetHistogram(), want.GetHistogram()
		if g.GetSampleCount() != w.GetSampleCount() || math.Abs(g.GetSampleSum()-w.GetSampleSum()) > 1e-6*w.GetSampleSum() || g.GetZeroCount() != w.GetZeroCount() || g.GetSchema() != w.GetSchema() {
			t.Fatalf("got %v, want %v", g, w)
		}
		for i, b := range w.GetBucket() {
			if g.GetBucket()[i].GetCumulativeCount() != b.GetCumulativeCount() {
				t.Fatalf("bucket %v: %v, want %v", b.GetUpperBound(), g.GetBucket()[i], b)
			}
		}
		gotNative, wantNative := nativeCounts(g), nativeCounts(w)
		if len(gotNative) != len(wantNative) {
			t.Fatalf("native buckets %v, want %v", gotNative, wantNative)
		}
		for i, n := range wantNative {
			if gotNative[i] != n {
				t.Fatalf("native bucket %d: %d, want %d", i, gotNative[i], n)
			}
		}
	})
}

// nativeCounts unpacks the native buckets that are not empty.
func nativeCounts(h *dto.Histogram) map[int32]int64 {
	counts := make(map[int32]int64)
	bucket, count, next := int32(0), int64(0), 0
	for _, span := range h.GetPositiveSpan() {
		bucket += span.GetOffset()
		for range span.GetLength() {
			count += h.GetPositiveDelta()[next]
			next++
			if count != 0 {
				counts[bucket] = count
			}
			bucket++
		}
	}
	return counts
}
