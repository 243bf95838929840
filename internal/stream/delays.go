package stream

import (
	"fmt"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// The native buckets of delays: each is 2^(1/8) times the one before, which is
// the schema 3 of Prometheus (https://prometheus.io/docs/specs/native_histograms),
// from a microsecond to some four years.
const (
	nativeSchema  = 3
	nativeFirst   = -20 << nativeSchema
	nativeLast    = 27 << nativeSchema
	nativeBuckets = nativeLast - nativeFirst + 1
)

// classicEdges are the edges, in seconds, that people set objectives at.
const classicEdges = 12

func delayEdges() [classicEdges]float64 {
	return [...]float64{.1, .5, 1, 5, 15, 30, 60, 300, 900, 3600, 21600, 86400}
}

// delays is a histogram, classic and native, of what a target delivers. It is
// not one of client_golang's, for that takes one observation at a time and
// takes longer over it than everything else of a delivery: here the changes of
// one record, which waited equally long, count as one. The target's mutex
// guards it.
type delays struct {
	classic [classicEdges + 1]uint64 // The last one is for those past all edges.
	native  [nativeBuckets]uint64
	// last are the buckets of the last observation: most are like the one before.
	last buckets
	// zero counts those of no time at all, for clocks differ.
	zero, count uint64
	sum         float64
}

// buckets are those of the times above one and up to another, in seconds.
type buckets struct {
	above, upTo     float64
	classic, native int
}

// observe counts n changes that took that long.
func (d *delays) observe(seconds float64, n uint64, edges *[classicEdges]float64) {
	d.count += n
	if seconds <= 0 {
		d.classic[0] += n
		d.zero += n
		return
	}
	d.sum += seconds * float64(n)
	if seconds <= d.last.above || seconds > d.last.upTo {
		d.last = bucketsOf(seconds, edges)
	}
	d.classic[d.last.classic] += n
	d.native[d.last.native] += n
}

func bucketsOf(seconds float64, edges *[classicEdges]float64) buckets {
	native := nativeBucket(seconds)
	b := buckets{above: nativeBound(native - 1), upTo: nativeBound(native), native: min(max(native, nativeFirst), nativeLast) - nativeFirst}
	for b.classic < len(edges) && edges[b.classic] < seconds {
		b.above = max(b.above, edges[b.classic])
		b.classic++
	}
	if b.classic < len(edges) {
		b.upTo = min(b.upTo, edges[b.classic])
	}
	return b
}

// nativeFractions are the bounds of the native buckets from a half to one.
func nativeFractions() [1 << nativeSchema]float64 {
	return [...]float64{
		0.5, 0.5452538663326288, 0.5946035575013605, 0.6484197773255048, 0.7071067811865475,
		0.7711054127039704, 0.8408964152537144, 0.9170040432046711,
	}
}

// nativeBucket returns the number of the first native bucket whose upper bound,
// 2^(number/8), is not below seconds: ceil(8·log2(seconds)), without the
// logarithm.
func nativeBucket(seconds float64) int {
	fraction, exponent := math.Frexp(seconds) // From a half to one.
	bucket := (exponent - 1) << nativeSchema
	for _, bound := range nativeFractions() {
		if fraction <= bound {
			return bucket
		}
		bucket++
	}
	return bucket
}

// nativeBound returns the upper bound of a native bucket.
func nativeBound(bucket int) float64 {
	return math.Ldexp(nativeFractions()[bucket&(1<<nativeSchema-1)], bucket>>nativeSchema+1)
}

// metric shows the histogram as client_golang shows its own.
func (d *delays) metric(desc *prometheus.Desc, born time.Time, labels ...string) prometheus.Metric {
	cumulated, classic := uint64(0), make(map[float64]uint64)
	for i, edge := range delayEdges() {
		cumulated += d.classic[i]
		classic[edge] = cumulated
	}
	native := make(map[int]int64)
	for i := range d.native {
		if n := d.native[i]; n > 0 {
			native[i+nativeFirst] = int64(n)
		}
	}
	return bothHistograms{
		Metric:  prometheus.MustNewConstNativeHistogram(desc, d.count, d.sum, native, nil, d.zero, nativeSchema, 0, born, labels...),
		classic: prometheus.MustNewConstHistogram(desc, d.count, d.sum, classic, labels...),
	}
}

// bothHistograms is a native histogram with the classic buckets beside it.
type bothHistograms struct {
	prometheus.Metric
	classic prometheus.Metric
}

// Write implements prometheus.Metric.
func (b bothHistograms) Write(out *dto.Metric) error {
	var classic dto.Metric
	if err := b.classic.Write(&classic); err != nil {
		return fmt.Errorf("writing the classic buckets: %w", err)
	}
	if err := b.Metric.Write(out); err != nil {
		return fmt.Errorf("writing the native buckets: %w", err)
	}
	out.Histogram.Bucket = classic.GetHistogram().GetBucket()
	return nil
}

// deliveries are the delays of a target, each by path: from a change's computed
// time and from its Kafka timestamp to Braze's answer.
type deliveries struct {
	computed, record [2]delays
}

// The indexes of deliveries.
const (
	live = iota
	backfill
)

// observe counts the delivered changes of a flight. Those next to each other
// that are of one record are counted in one go.
func (d *deliveries) observe(items []flown, delivered func(i int) bool, backfillEnd int64, now time.Time) {
	edges := delayEdges()
	for i := 0; i < len(items); {
		if !delivered(i) {
			i++
			continue
		}
		first, n := &items[i], uint64(0)
		for ; i < len(items) && delivered(i) && items[i].offset == first.offset; i++ {
			n++
		}
		path := live
		if first.offset < backfillEnd {
			path = backfill
		}
		d.computed[path].observe(float64(now.UnixMicro()-first.time)/1e6, n, &edges)
		d.record[path].observe(float64(now.UnixMilli()-first.stamp)/1e3, n, &edges)
	}
}
