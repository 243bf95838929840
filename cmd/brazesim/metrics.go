package main

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"cohortsync/internal/braze/brazetest"
)

// metrics shows the counters to Prometheus.
func (s *simulator) metrics() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(&collector{
		braze: s.braze,
		requests: prometheus.NewDesc("brazesim_requests_total",
			"Requests by endpoint and status; 0 is for those that were never answered.", []string{"endpoint", "status"}, nil),
		operations: prometheus.NewDesc("brazesim_operations_total",
			"Operations that were accepted, and those of items that were refused by themselves.", []string{"outcome"}, nil),
		violations: prometheus.NewDesc("brazesim_violations_total", "What clients did that none may ever do.", nil, nil),
		inFlight:   prometheus.NewDesc("brazesim_requests_in_flight", "Requests that wait for their answer.", nil, nil),
		due:        prometheus.NewDesc("brazesim_operations_due", "Accepted operations that are not applied yet.", nil, nil),
		members:    prometheus.NewDesc("brazesim_members", "Members of all cohorts and attributes.", nil, nil),
	})
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

type collector struct {
	braze                                                    *brazetest.Server
	requests, operations, violations, inFlight, due, members *prometheus.Desc
}

// Describe says which metrics there are.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.requests, c.operations, c.violations, c.inFlight, c.due, c.members} {
		to <- d
	}
}

// Collect says how the metrics stand.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	counters := c.braze.Counters()
	show := func(d *prometheus.Desc, kind prometheus.ValueType, value int, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, kind, float64(value), labels...)
	}
	for endpoint, statuses := range counters.Requests {
		for status, n := range statuses {
			show(c.requests, prometheus.CounterValue, n, endpoint, strconv.Itoa(status))
		}
	}
	show(c.operations, prometheus.CounterValue, counters.Accepted, "accepted")
	show(c.operations, prometheus.CounterValue, counters.Refused, "refused")
	show(c.violations, prometheus.CounterValue, counters.Violations)
	show(c.inFlight, prometheus.GaugeValue, counters.InFlight)
	show(c.due, prometheus.GaugeValue, counters.Due)
	show(c.members, prometheus.GaugeValue, counters.Members)
}
