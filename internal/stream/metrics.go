package stream

import (
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cohortsync/internal/braze"
	"cohortsync/internal/event"
)

// The values of the label path.
const (
	pathLive     = "live"
	pathBackfill = "backfill"
)

// Metrics are the metrics of all targets of the process.
type Metrics struct {
	reg                                                    prometheus.Registerer
	records, recordBytes, emptyRecords, undecodable, users *prometheus.CounterVec
	timeIssues, splitCohorts, fetchFailures                *prometheus.CounterVec
	outOfRange, lost                                       *prometheus.CounterVec
	batches, retries, throttleWait, locks                  *prometheus.CounterVec
	letters, letterFailures                                *prometheus.CounterVec
	commits, commitFailures, generations                   *prometheus.CounterVec
	batchSize, drain                                       *prometheus.HistogramVec
	lastSuccess                                            *prometheus.GaugeVec
}

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{reg: reg}
	counter := func(to **prometheus.CounterVec, name, help string, labels ...string) {
		*to = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "cohortsync_" + name, Help: help},
			append([]string{"target"}, labels...))
		reg.MustRegister(*to)
	}
	histogram := func(to **prometheus.HistogramVec, name, help string, buckets []float64) {
		*to = prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "cohortsync_" + name, Help: help, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100,
			NativeHistogramMinResetDuration: time.Hour,
		}, []string{"target"})
		reg.MustRegister(*to)
	}
	counter(&m.records, "records_total", "Records read from the topic.")
	counter(&m.recordBytes, "record_bytes_total", "Bytes of the values of the records read.")
	counter(&m.emptyRecords, "records_empty_total", "Records without a value, passed over.")
	counter(&m.undecodable, "records_undecodable_total", "Records that could not be decoded, by reason.", "reason")
	counter(&m.users, "users_total", "Users in the records read.")
	counter(&m.timeIssues, "computed_time_replaced_total", "Records whose Kafka timestamp stood in for their computed_time, by reason.", "reason")
	counter(&m.splitCohorts, "cohorts_in_two_partitions_total", "Cohorts that turned up in a second partition.")
	counter(&m.fetchFailures, "fetch_failures_total", "Fetches that failed.")
	counter(&m.outOfRange, "offsets_out_of_range_total", "Times the log did not have the offset to read on from.")
	counter(&m.lost, "offsets_lost_total", "Offsets that retention took before they were read.")
	counter(&m.batches, "batches_total", "Batches sent, by why they left.", "reason")
	counter(&m.retries, "retries_total", "Batches and namings to be sent again, by what failed.", "class")
	counter(&m.throttleWait, "throttle_wait_seconds_total", "Time in which a batch was due and the throttle held it back.")
	counter(&m.locks, "target_locks_total", "Times the target was locked.")
	counter(&m.letters, "dead_letters_total", "Source records for which dead letters were acknowledged, by stage.", "stage")
	counter(&m.letterFailures, "dead_letter_failures_total", "Attempts to write a dead letter that failed.")
	counter(&m.commits, "commits_total", "Attempts to commit offsets.")
	counter(&m.commitFailures, "commit_failures_total", "Attempts to commit offsets that failed.")
	counter(&m.generations, "rebalances_total", "Generations of the consumer group that this worker took part in.")
	histogram(&m.batchSize, "batch_size", "Identifiers in a batch.", []float64{1, 5, 10, 50, 100, 250, 500, 750, 1000})
	histogram(&m.drain, "drain_duration_seconds", "Time from the end of a generation to its last commit.", []float64{.01, .1, .5, 1, 2.5, 5, 10, 20, 30, 60})
	m.lastSuccess = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "cohortsync_sync_last_success_timestamp_seconds", Help: "When Braze last accepted changes of the sync; 0 for not yet.",
	}, []string{"target", "sync"})
	reg.MustRegister(m.lastSuccess)
	return m
}

// targetMetrics are the metrics of one target, each looked up once.
type targetMetrics struct {
	records, bytes, emptyRecords, users  prometheus.Counter
	splitCohorts, fetchFailures          prometheus.Counter
	outOfRange, lost                     prometheus.Counter
	throttleWait, locks, letterFailures  prometheus.Counter
	commits, commitFailures, generations prometheus.Counter
	undecodable                          map[event.Reason]prometheus.Counter
	timeIssues                           map[event.TimeIssue]prometheus.Counter
	batches, letters                     map[string]prometheus.Counter
	retries                              map[braze.Class]prometheus.Counter
	batchSize, drain                     prometheus.Observer
	lastSuccess                          map[string]prometheus.Gauge
}

// target initialises every label value of one target, and registers the
// collector of its state.
func (m *Metrics) target(t *Target) *targetMetrics {
	name := t.Options.Target.Name
	tm := &targetMetrics{
		records: m.records.WithLabelValues(name), bytes: m.recordBytes.WithLabelValues(name),
		emptyRecords: m.emptyRecords.WithLabelValues(name),
		users:        m.users.WithLabelValues(name), splitCohorts: m.splitCohorts.WithLabelValues(name),
		fetchFailures: m.fetchFailures.WithLabelValues(name),
		outOfRange:    m.outOfRange.WithLabelValues(name), lost: m.lost.WithLabelValues(name),
		throttleWait: m.throttleWait.WithLabelValues(name), locks: m.locks.WithLabelValues(name),
		letterFailures: m.letterFailures.WithLabelValues(name), commits: m.commits.WithLabelValues(name),
		commitFailures: m.commitFailures.WithLabelValues(name), generations: m.generations.WithLabelValues(name),
		batchSize: m.batchSize.WithLabelValues(name), drain: m.drain.WithLabelValues(name),
		undecodable: make(map[event.Reason]prometheus.Counter),
		timeIssues:  make(map[event.TimeIssue]prometheus.Counter),
		retries:     make(map[braze.Class]prometheus.Counter),
		batches:     counters(m.batches, name, leftFull, leftLinger, leftRetry),
		letters:     counters(m.letters, name, stageDecode, stageDeliver),
		lastSuccess: make(map[string]prometheus.Gauge),
	}
	for _, reason := range event.Reasons() {
		tm.undecodable[reason] = m.undecodable.WithLabelValues(name, reason.String())
	}
	for _, issue := range event.TimeIssues() {
		tm.timeIssues[issue] = m.timeIssues.WithLabelValues(name, issue.String())
	}
	for _, class := range []braze.Class{braze.Unreachable, braze.Unexpected, braze.Limited, braze.Busy} {
		tm.retries[class] = m.retries.WithLabelValues(name, class.String())
	}
	for _, sync := range t.Routes.Syncs() {
		tm.lastSuccess[sync.Name] = m.lastSuccess.WithLabelValues(name, sync.Name)
	}
	m.reg.MustRegister(newCollector(t))
	return tm
}

func counters(v *prometheus.CounterVec, target string, values ...string) map[string]prometheus.Counter {
	all := make(map[string]prometheus.Counter, len(values))
	for _, value := range values {
		all[value] = v.WithLabelValues(target, value)
	}
	return all
}

// collector tells a target's state from one snapshot, so that the funnel adds
// up at every scrape and the gauges of a partition go with its feed.
type collector struct {
	t                                                                                *Target
	funnel                                                                           map[string]*prometheus.Desc
	skipped, pending, pendingBytes, used, late, oldest, locked, inFlight, partitions *prometheus.Desc
	committed, logStart, highWatermark, computedDelay, recordDelay                   *prometheus.Desc
}

func newCollector(t *Target) *collector {
	c := &collector{t: t, funnel: make(map[string]*prometheus.Desc)}
	constant := prometheus.Labels{"target": t.Options.Target.Name}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("cohortsync_"+name, help, labels, constant)
	}
	for what, help := range map[string]string{
		"consumed":      "Changes put to the pending set or skipped; one for each identifier.",
		"delivered":     "Changes that Braze accepted.",
		"superseded":    "Changes that a newer one overtook before they were sent.",
		"stale":         "Changes older than one already settled for the same identifier.",
		"dead_lettered": "Changes written to the dead-letter topic.",
		"released":      "Changes forgotten when their partition was revoked; its next owner reads them again.",
	} {
		c.funnel[what] = desc("changes_"+what+"_total", help)
	}
	c.skipped = desc("changes_skipped_total", "Users and identifiers that cannot be sent, by reason.", "reason")
	c.pending = desc("changes_pending", "Changes that are not settled; an identifier has two of them while one is in flight and a newer one waits.")
	c.pendingBytes = desc("pending_bytes", "What the budget of max_memory counts for pending changes and their cohorts.")
	c.used = desc("memory_used_bytes", "What the budget of max_memory counts: fetched records, pending changes and late memory.")
	c.late = desc("late_memory_identifiers", "Identifiers whose settled change is remembered, those that rest for the reorder guard included.")
	c.oldest = desc("oldest_unsettled_timestamp_seconds", "Kafka timestamp of the oldest unsettled record; 0 for none.")
	c.locked = desc("target_locked", "1 while the target is locked for the reason.", "reason")
	c.inFlight = desc("requests_in_flight", "Batches and namings under way.")
	c.partitions = desc("partitions_owned", "Partitions that this worker owns.")
	c.computedDelay = desc("delivery_delay_seconds", "Time from a change's computed_time to Braze's answer.", "path")
	c.recordDelay = desc("record_delay_seconds", "Time from a change's Kafka timestamp to Braze's answer.", "path")
	c.committed = desc("committed_offset", "The offset committed for the partition.", "partition")
	c.logStart = desc("log_start_offset", "The partition's first offset.", "partition")
	c.highWatermark = desc("high_watermark_offset", "The offset that the partition's next record will get.", "partition")
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.t.snapshot()
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter(c.funnel["consumed"], s.funnel.consumed)
	counter(c.funnel["delivered"], s.funnel.delivered)
	counter(c.funnel["superseded"], s.funnel.superseded)
	counter(c.funnel["stale"], s.funnel.stale)
	counter(c.funnel["dead_lettered"], s.funnel.deadLettered)
	counter(c.funnel["released"], s.funnel.released)
	for reason, n := range s.funnel.skipped {
		counter(c.skipped, n, reason)
	}
	gauge(c.pending, float64(s.pending))
	gauge(c.pendingBytes, float64(s.pendingBytes))
	gauge(c.used, float64(s.bytes))
	gauge(c.late, float64(s.late))
	gauge(c.oldest, float64(s.oldest)/1e3)
	gauge(c.inFlight, float64(s.inFlight))
	gauge(c.partitions, float64(len(s.feeds)))
	for _, reason := range []string{lockRefused, lockInvalid, lockDeadLetters} {
		locked := 0.0
		if slices.Contains(s.locked, reason) {
			locked = 1
		}
		gauge(c.locked, locked, reason)
	}
	for path, label := range [2]string{live: pathLive, backfill: pathBackfill} {
		ch <- s.deliveries.computed[path].metric(c.computedDelay, c.t.born, label)
		ch <- s.deliveries.record[path].metric(c.recordDelay, c.t.born, label)
	}
	for _, f := range s.feeds {
		partition := strconv.Itoa(f.partition)
		gauge(c.committed, float64(f.committed), partition)
		gauge(c.logStart, float64(f.bounds.First), partition)
		gauge(c.highWatermark, float64(f.bounds.Next), partition)
	}
}

// snapshot is a target's state at one moment.
type snapshot struct {
	funnel                  funnel
	deliveries              deliveries
	pending, late, inFlight int
	bytes, pendingBytes     int64
	// oldest is in milliseconds of the Unix epoch, 0 for none.
	oldest int64
	locked []string
	feeds  []feedSnapshot
}

type feedSnapshot struct {
	partition int
	committed int64
	bounds    Bounds
}

func (t *Target) snapshot() snapshot {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := snapshot{funnel: t.funnel.clone(), deliveries: t.deliveries, locked: t.lockedBy()}
	g := t.gen
	if g == nil {
		return s
	}
	s.late, s.inFlight, s.bytes = g.late.length+g.cooling.length, g.inFlight, g.memory.used
	s.pendingBytes = s.bytes - g.memory.reserved - g.late.bytes
	for _, f := range g.feeds {
		s.pending += f.pending
		if stamp, ok := f.tracker.oldest(); ok && (s.oldest == 0 || stamp < s.oldest) {
			s.oldest = stamp
		}
		s.feeds = append(s.feeds, feedSnapshot{partition: f.partition, committed: f.committed, bounds: f.bounds})
	}
	return s
}
