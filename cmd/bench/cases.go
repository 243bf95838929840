package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// benchCase is one row to be.
type benchCase struct {
	name string
	run  func() (row, error)
}

func (b *bench) cases() []benchCase {
	single := &load{bench: b, topic: "single", users: 1}
	many := &load{bench: b, topic: "many", users: b.Many}
	cases := []benchCase{{"(a) bare read, single-user records", single.read}}
	for _, api := range []string{"cohorts", "attributes"} {
		cases = append(cases,
			benchCase{"(b) " + api + ", single-user records", func() (row, error) { return single.deliver(api, 0) }},
			benchCase{"(c) " + api + ", single-user, 50 ms", func() (row, error) { return single.deliver(api, 50*time.Millisecond) }},
			benchCase{fmt.Sprintf("(b) %s, %d-user records", api, b.Many), func() (row, error) { return many.deliver(api, 0) }},
			benchCase{fmt.Sprintf("(c) %s, %d-user, 50 ms", api, b.Many), func() (row, error) { return many.deliver(api, 50*time.Millisecond) }},
		)
	}
	return append(cases,
		benchCase{"delay at 1,000 events/s, linger 0", b.delay},
		benchCase{"idle, 200 partitions", b.idle})
}

// load is a topic full of events, written when it is first needed.
type load struct {
	*bench
	topic   string
	users   int
	records int64
	// sizes are the identifiers of each cohort.
	sizes []int
}

func (l *load) write() error {
	if l.records > 0 {
		return nil
	}
	file := filepath.Join(l.dir, l.topic+".json")
	if _, _, err := l.output(l.tools.loadgen, "write", "--brokers", l.broker, "--topic", l.topic, "--create",
		"--partitions", itoa(int64(l.Partitions)), "--cohorts", itoa(int64(l.Cohorts)), "--changes", itoa(l.Events),
		"--users-per-record", itoa(int64(l.users)), "--unique", "--zipf", "0", "--expected", file); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return fmt.Errorf("reading what was written: %w", err)
	}
	var expected struct {
		Records int64 `json:"records"`
		Cohorts []struct {
			Members []string `json:"members"`
		} `json:"cohorts"`
	}
	if err := json.Unmarshal(text, &expected); err != nil {
		return fmt.Errorf("reading what was written: %w", err)
	}
	for _, c := range expected.Cohorts {
		l.sizes = append(l.sizes, len(c.Members))
	}
	l.records = expected.Records
	return nil
}

// read is the row of the bare read.
func (l *load) read() (row, error) {
	if err := l.write(); err != nil {
		return row{}, err
	}
	out, used, err := l.output(l.tools.self, "read", "--broker", l.broker, "--topic", l.topic)
	if err != nil {
		return row{}, err
	}
	if got := strings.TrimSpace(out); got != itoa(l.records) {
		return row{}, fmt.Errorf("read %s of %d records", got, l.records)
	}
	return row{CPU: perEvent(used.cpu, l.Events), Rate: float64(l.Events) / used.wall.Seconds()}, nil
}

// deliver is the row of the whole worker on one API.
func (l *load) deliver(api string, latency time.Duration) (r row, err error) {
	if err := l.write(); err != nil {
		return row{}, err
	}
	braze, err := l.start(l.tools.self, "braze", "--latency", latency.String())
	if err != nil {
		return row{}, err
	}
	defer func() { _ = braze.stop() }()
	w, err := l.work(settings{topic: l.topic, api: api, braze: braze.said, linger: "1s", from: "earliest"})
	if err != nil {
		return row{}, err
	}
	var first, last time.Time
	held := 0.0
	end, err := w.until(l.ctx, func(s scrape) bool {
		if first.IsZero() && s.sum("cohortsync_records_total") > 0 {
			first = time.Now()
		}
		held = max(held, s.sum("cohortsync_late_memory_identifiers")+s.sum("cohortsync_changes_pending"))
		if last.IsZero() && int64(s.sum("cohortsync_changes_delivered_total")) == l.Events {
			last = time.Now()
		}
		return int64(s.sum("cohortsync_committed_offset")) == l.records
	})
	if err != nil {
		return row{}, err
	}
	used, err := w.stop()
	if err != nil {
		return row{}, err
	}
	least, batch := 0, 1000
	if api == "attributes" {
		batch = 75
	}
	for _, n := range l.sizes {
		least += (n + batch - 1) / batch
	}
	rate := 0.0
	if took := last.Sub(first); took > 0 { // Else it was all done between two looks.
		rate = float64(l.Events) / took.Seconds()
	}
	return row{
		CPU: perEvent(used.cpu, l.Events), Rate: rate,
		Requests: end.sum("cohortsync_braze_requests_total") / float64(least),
		Memory:   used.peak, Bound: 64e6 + int64(160*held),
	}, nil
}

func perEvent(d time.Duration, events int64) float64 {
	return float64(d.Nanoseconds()) / 1e3 / float64(events)
}

// delay is the row of the time from an event's Kafka timestamp to Braze's
// answer, under a light and steady load.
func (b *bench) delay() (r row, err error) {
	const topic = "steady"
	braze, err := b.start(b.tools.self, "braze")
	if err != nil {
		return row{}, err
	}
	defer func() { _ = braze.stop() }()
	write := func(more ...string) error {
		_, _, err := b.output(b.tools.loadgen, append([]string{
			"write", "--brokers", b.broker, "--topic", topic, "--create",
			"--partitions", itoa(int64(b.Partitions)), "--cohorts", itoa(int64(b.Cohorts)),
		}, more...)...)
		return err
	}
	if err := write("--changes", "1"); err != nil {
		return row{}, err
	}
	w, err := b.work(settings{topic: topic, api: "cohorts", braze: braze.said, linger: "0", from: "latest"})
	if err != nil {
		return row{}, err
	}
	if _, err := w.until(b.ctx, func(s scrape) bool { return s.sum("cohortsync_partitions_owned") == float64(b.Partitions) }); err != nil {
		return row{}, err
	}
	if err := write("--rate", "1000", "--duration", b.Steady.String(), "--prefix", "steady"); err != nil {
		return row{}, err
	}
	end, err := w.until(b.ctx, func(s scrape) bool { return s.sum("cohortsync_changes_pending") == 0 })
	if err != nil {
		return row{}, err
	}
	used, err := w.stop()
	if err != nil {
		return row{}, err
	}
	n := end.sum("cohortsync_changes_delivered_total")
	h := end.histogram("cohortsync_record_delay_seconds", "live")
	return row{
		CPU: perEvent(used.cpu, int64(n)), Memory: used.peak,
		Note: fmt.Sprintf("%.0f delivered, p50 %.1f ms, p99 %.1f ms", n, 1e3*quantile(h, .5), 1e3*quantile(h, .99)),
	}, nil
}

// idle is the row of a worker that owns many partitions without anything new.
func (b *bench) idle() (row, error) {
	const topic, partitions = "idle", 200
	if _, _, err := b.output(b.tools.loadgen, "write", "--brokers", b.broker, "--topic", topic, "--create",
		"--partitions", itoa(partitions), "--changes", "1"); err != nil {
		return row{}, err
	}
	w, err := b.work(settings{topic: topic, api: "cohorts", braze: "http://127.0.0.1:9", linger: "1s", from: "latest"})
	if err != nil {
		return row{}, err
	}
	began, err := w.until(b.ctx, func(s scrape) bool { return s.sum("cohortsync_partitions_owned") == partitions })
	if err != nil {
		return row{}, err
	}
	since := time.Now()
	select { // Without a scrape, which is not what an idle worker does.
	case <-b.ctx.Done():
		return row{}, b.ctx.Err()
	case <-time.After(b.Idle):
	}
	end, err := w.scrape(b.ctx)
	if err != nil {
		return row{}, err
	}
	used, err := w.stop()
	if err != nil {
		return row{}, err
	}
	const cpu = "process_cpu_seconds_total"
	share := (end.sum(cpu) - began.sum(cpu)) / time.Since(since).Seconds()
	return row{Memory: used.peak, Note: fmt.Sprintf("%.2f%% of a core", 100*share)}, nil
}
