package chaoscheck

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }

// story tells all that is known of a subject in the order of time: the log, the
// requests, the letters, the owners of its partition, and the commits that
// passed its changes.
func (j *judge) story(s subject) []string {
	type line struct {
		at   time.Time
		text string
	}
	var lines []line
	tell := func(at time.Time, format string, args ...any) {
		lines = append(lines, line{at, fmt.Sprintf(format, args...)})
	}
	for _, c := range j.changes[s] {
		tell(c.written, "log      %v", c)
	}
	for _, o := range j.ops[s] {
		r := o.request
		tell(r.Came, "request  %d of %s: in=%t, status %d, applied %t, until %s", r.Seq, r.Worker, !o.op.Remove, r.Status, r.Applied, clock(r.Over))
	}
	for key, at := range j.letters {
		if key.subject == s {
			tell(at, "letter   about %d/%d", key.partition, key.offset)
		}
	}
	if owners := j.owners(s); owners != nil {
		for _, l := range owners.Lives {
			tell(l.Began, "owner    generation %d, from offset %d, %s", l.Generation, l.Start, l.Member)
		}
		passed := int64(0)
		for _, c := range owners.Commits {
			if c.Offset > passed && slices.ContainsFunc(j.changes[s], func(d change) bool { return d.offset >= passed && d.offset < c.Offset }) {
				tell(c.At, "commit   %d", c.Offset)
			}
			passed = max(passed, c.Offset)
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	told := make([]string, len(lines))
	for i, l := range lines {
		told[i] = clock(l.at) + "  " + l.text
	}
	return told
}
