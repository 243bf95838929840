package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// figures are what the worker's own metrics say at one moment, by name and by
// name and first label beside the target's.
type figures map[string]float64

// read gathers the worker's metrics. The demo shows what anybody can scrape.
func read(from prometheus.Gatherer) (figures, error) {
	families, err := from.Gather()
	if err != nil {
		return nil, fmt.Errorf("reading the metrics: %w", err)
	}
	f := make(figures)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			v := m.GetCounter().GetValue() + m.GetGauge().GetValue()
			f[family.GetName()] += v
			for _, l := range m.GetLabel() {
				f[family.GetName()+"/"+l.GetValue()] += v
			}
		}
	}
	return f, nil
}

// screen shows how things go, in place on a terminal, else a line at a time.
type screen struct {
	out      io.Writer
	terminal bool
	began    time.Time
	last     figures
	lines    int
}

// show prints the present figures and the members of each cohort.
func (s *screen) show(f figures, members []cohortMembers, faults string) {
	if !s.terminal {
		fmt.Fprintf(s.out, "%4.0fs  in %.0f  coalesced %.0f  requests %.0f  delivered %.0f  throttled %.0f times, %.0f s  dead-lettered %.0f  pending %.0f  Braze %s\n",
			time.Since(s.began).Seconds(), f["cohortsync_changes_consumed_total"], coalesced(f), f["cohortsync_braze_requests_total"],
			f["cohortsync_changes_delivered_total"], f["cohortsync_braze_requests_total/limited"], f["cohortsync_throttle_wait_seconds_total"],
			f["cohortsync_changes_dead_lettered_total"], f["cohortsync_changes_pending"], standing(f, time.Now()))
		for i, m := range members {
			fmt.Fprintf(s.out, "%s%s %d", [2]string{"       members  ", ", "}[min(i, 1)], m.name, m.members)
		}
		fmt.Fprintln(s.out)
		return
	}
	var b strings.Builder
	if s.lines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", s.lines)
	}
	text := s.table(f, members, faults)
	b.WriteString(text)
	s.lines = strings.Count(text, "\n")
	s.last = f
	_, _ = io.WriteString(s.out, b.String()) // A closed terminal ends the demo by its signal.
}

func (s *screen) table(f figures, members []cohortMembers, faults string) string {
	var b strings.Builder
	row := func(label, name string, value float64) {
		fmt.Fprintf(&b, "  %-22s %12.0f", label, value)
		if s.last != nil && name != "" {
			fmt.Fprintf(&b, "  %+8.0f/s", f[name]-s.last[name])
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "  %.0f s%s\n", time.Since(s.began).Seconds(), faults)
	fmt.Fprintf(&b, "  %-22s %s\n", "Braze", standing(f, time.Now()))
	row("changes in", "cohortsync_changes_consumed_total", f["cohortsync_changes_consumed_total"])
	row("coalesced", "", coalesced(f))
	row("requests", "cohortsync_braze_requests_total", f["cohortsync_braze_requests_total"])
	row("  failed", "", f["cohortsync_braze_requests_total"]-f["cohortsync_braze_requests_total/success"])
	row("delivered", "cohortsync_changes_delivered_total", f["cohortsync_changes_delivered_total"])
	row("throttled (429)", "", f["cohortsync_braze_requests_total/limited"])
	row("  waited, s", "cohortsync_throttle_wait_seconds_total", f["cohortsync_throttle_wait_seconds_total"])
	row("dead-lettered", "cohortsync_changes_dead_lettered_total", f["cohortsync_changes_dead_lettered_total"])
	row("pending", "", f["cohortsync_changes_pending"])
	b.WriteString("  members in the simulated Braze, which was empty at the start\n")
	for _, m := range members {
		fmt.Fprintf(&b, "    %-22s %10d\n", m.name, m.members)
	}
	return b.String()
}

// standing says in words how the worker stands with Braze.
func standing(f figures, now time.Time) string {
	held := f["cohortsync_braze_held_until_timestamp_seconds"] - float64(now.UnixMilli())/1e3
	switch {
	case f["cohortsync_target_locked"] > 0:
		return "refuses; the target is locked"
	case f["cohortsync_braze_breaker_open"] > 0:
		return fmt.Sprintf("fails; asked again in %.0f s", max(0, held))
	case held > 0:
		return fmt.Sprintf("asks to wait, %.0f s more", held)
	default:
		return "takes requests"
	}
}

// coalesced counts the changes that never had to be sent.
func coalesced(f figures) float64 {
	return f["cohortsync_changes_superseded_total"] + f["cohortsync_changes_stale_total"]
}

// cohortMembers is how many members a cohort has in Braze.
type cohortMembers struct {
	name    string
	members int
}

// lastWord says what was and what was not delivered.
func lastWord(out io.Writer, f figures, took time.Duration, unread int64) {
	fmt.Fprintf(out, `
Stopped cleanly after %.0f s. Of %.0f changes read
  %10.0f were delivered
  %10.0f were coalesced: a newer change of the user came before they were sent
  %10.0f went to the dead-letter topic
  %10.0f could not be sent and were skipped
  %10.0f were not delivered yet
`, took.Seconds(), f["cohortsync_changes_consumed_total"], f["cohortsync_changes_delivered_total"], coalesced(f),
		f["cohortsync_changes_dead_lettered_total"], f["cohortsync_changes_skipped_total"],
		f["cohortsync_changes_released_total"]+f["cohortsync_changes_pending"])
	if unread == 0 {
		fmt.Fprintln(out, "All of the log is committed.")
		return
	}
	fmt.Fprintf(out, "The next run reads on from the first change that was not delivered: %d records are not committed.\n", unread)
}
