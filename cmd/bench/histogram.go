package main

import (
	"math"

	dto "github.com/prometheus/client_model/go"
)

// histogram returns the series of a histogram that has the label value.
func (s scrape) histogram(name, value string) *dto.Histogram {
	for _, m := range s[name].GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetValue() == value {
				return m.GetHistogram()
			}
		}
	}
	return nil
}

// quantile returns the upper bound of the native bucket that a quantile is in:
// a tenth too much at most, as the worker's buckets are.
func quantile(h *dto.Histogram, q float64) float64 {
	if h == nil {
		return 0
	}
	wanted := q * float64(h.GetSampleCount())
	seen := float64(h.GetZeroCount())
	if seen >= wanted {
		return h.GetZeroThreshold()
	}
	growth := math.Exp2(math.Exp2(-float64(h.GetSchema())))
	bucket, count, next := int32(0), int64(0), 0
	for _, span := range h.GetPositiveSpan() {
		bucket += span.GetOffset()
		for range span.GetLength() {
			count += h.GetPositiveDelta()[next]
			next++
			if seen += float64(count); seen >= wanted {
				return math.Pow(growth, float64(bucket))
			}
			bucket++
		}
	}
	return math.Inf(1)
}
