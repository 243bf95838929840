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
	var lines tale
	tell := lines.tell
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
	return lines.told()
}

// around is how much of what was before and after two requests is told.
const around = 3 * time.Second

// flightStory tells what was asked of a cohort around two requests that met,
// and who owned its partition.
func (j *judge) flightStory(t Target, key subject, before, r *Request) []string {
	var lines tale
	for i := range j.Braze[t.Name].Requests {
		other := &j.Braze[t.Name].Requests[i]
		if !slices.Contains(keysOf(t, other), key) || other.Over.Before(before.Came.Add(-around)) || other.Came.After(r.Over.Add(around)) {
			continue
		}
		lines.tell(other.Came, "request  %d of %s: %d operations, naming %t, status %d, answered %t, applied %t, until %s",
			other.Seq, other.Worker, len(other.Ops), other.Naming, other.Status, other.Answered, other.Applied, clock(other.Over))
	}
	if owners := j.Owners[Place{t.Group, j.homes[key.cohort]}]; owners != nil {
		for _, l := range owners.Lives {
			lines.tell(l.Began, "owner    generation %d, from offset %d, %s", l.Generation, l.Start, l.Member)
		}
	}
	return lines.told()
}

// tale is a story while it is gathered.
type tale []taleLine

type taleLine struct {
	at   time.Time
	text string
}

func (t *tale) tell(at time.Time, format string, args ...any) {
	*t = append(*t, taleLine{at, fmt.Sprintf(format, args...)})
}

// told returns the story in the order of time.
func (t *tale) told() []string {
	slices.SortStableFunc(*t, func(a, b taleLine) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	told := make([]string, len(*t))
	for i, l := range *t {
		told[i] = clock(l.at) + "  " + l.text
	}
	return told
}
