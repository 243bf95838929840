package stream

import (
	"cohortsync/internal/catalog"
	"cohortsync/internal/event"
)

// cohort returns the feed's cohort, new where it was not known.
func (f *feed) cohort(id []byte, route *catalog.Sync) *cohort {
	if c, ok := f.cohorts[string(id)]; ok {
		return c
	}
	g := f.g
	c := &cohort{id: string(id), feed: f, sync: route, nameless: g.t.Namer == nil}
	g.store.join(c)
	if target := &g.t.Options.Target; target.API == catalog.Attributes {
		var wrong string
		c.attribute, wrong = target.AttributeOf(c.id, route.Name)
		c.unfit = wrong != ""
	}
	c.turn = g.turns[c.id]
	if c.turn == nil {
		c.turn = &turn{most: g.t.Options.Target.RequestsPerCohort()}
		g.turns[c.id] = c.turn
	}
	c.turn.cohorts = append(c.turn.cohorts, c)
	f.cohorts[c.id] = c
	g.memory.used += cohortCost + int64(len(c.id))
	return c
}

// oddities notes what is strange about a record, and returns what to log about
// it once the mutex is released.
func (f *feed) oddities(c *cohort, ev *event.Event) []func() {
	var told []func()
	t := f.g.t
	if home, known := t.homes[c.id]; !known {
		t.homes[c.id] = f.partition
	} else if home != f.partition && !t.split[c.id] {
		t.split[c.id] = true
		t.metrics.splitCohorts.Inc()
		told = append(told, func() {
			t.log.Warn("a cohort is in two partitions, so the order between them is not known; key every record by cohort_id",
				"cohort", c.id, "partition", f.partition, "first_partition", home)
		})
	}
	if ev.TimeIssue.Wrong() && !c.warnedTime {
		c.warnedTime = true
		issue := ev.TimeIssue.String()
		told = append(told, func() {
			t.log.Warn("computed_time cannot be right; the record's Kafka timestamp stands in",
				"cohort", c.id, "partition", f.partition, "reason", issue)
		})
	}
	return told
}
