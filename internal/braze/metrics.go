package braze

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The label values of requests. outcomePartial is an answer that names the
// items at fault, outcomeDivided one that was answered by dividing the batch,
// outcomeCancelled a request that the caller ended.
const (
	outcomeSuccess   = "success"
	outcomePartial   = "partial"
	outcomeDivided   = "divided"
	outcomeCancelled = "cancelled"

	endpointNaming  = "cohorts"
	endpointMembers = "users"
	endpointTrack   = "track"
)

// Metrics are the metrics of all clients and throttles of a process.
type Metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec

	limit, remaining, heldUntil, breakerOpen *prometheus.GaugeVec
}

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "cohortsync_braze_" + name, Help: help}, []string{"target"})
	}
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cohortsync_braze_requests_total",
			Help: "Requests to Braze, by the class of their answer.",
		}, []string{"target", "endpoint", "class"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:                            "cohortsync_braze_request_duration_seconds",
			Help:                            "Time from the start of a request to Braze to the end of its answer.",
			Buckets:                         []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15, 30},
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  100,
			NativeHistogramMinResetDuration: time.Hour,
		}, []string{"target", "endpoint"}),
		limit:       gauge("rate_limit_limit", "Requests in a window that Braze's headers allow, or the configured number."),
		remaining:   gauge("rate_limit_remaining", "Requests that Braze last said are left in the window."),
		heldUntil:   gauge("held_until_timestamp_seconds", "When the credential may send again, as last known; 0 when nothing held it."),
		breakerOpen: gauge("breaker_open", "Whether the credential's breaker is open: 1 or 0."),
	}
	reg.MustRegister(m.requests, m.duration, m.limit, m.remaining, m.heldUntil, m.breakerOpen)
	return m
}

// requestMetrics are those of one target and endpoint.
type requestMetrics struct {
	outcomes map[string]prometheus.Counter
	duration prometheus.Observer
}

func (m *Metrics) of(target, endpoint string) requestMetrics {
	r := requestMetrics{
		outcomes: make(map[string]prometheus.Counter),
		duration: m.duration.WithLabelValues(target, endpoint),
	}
	all := []string{outcomeSuccess, outcomePartial, outcomeDivided, outcomeCancelled}
	for c := Unreachable; c <= Invalid; c++ {
		all = append(all, c.String())
	}
	for _, o := range all {
		r.outcomes[o] = m.requests.WithLabelValues(target, endpoint, o)
	}
	return r
}

// throttleGauges show a throttle under the name of one of its targets.
type throttleGauges struct{ limit, remaining, heldUntil, breakerOpen prometheus.Gauge }

func (m *Metrics) throttle(target string) throttleGauges {
	return throttleGauges{
		m.limit.WithLabelValues(target), m.remaining.WithLabelValues(target),
		m.heldUntil.WithLabelValues(target), m.breakerOpen.WithLabelValues(target),
	}
}

func (g throttleGauges) set(s ThrottleState) {
	g.limit.Set(float64(s.Limit))
	g.remaining.Set(float64(s.Remaining))
	g.heldUntil.Set(0)
	if !s.HeldUntil.IsZero() {
		g.heldUntil.Set(float64(s.HeldUntil.UnixMilli()) / 1000)
	}
	g.breakerOpen.Set(0)
	if s.BreakerOpen {
		g.breakerOpen.Set(1)
	}
}
