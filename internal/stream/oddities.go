package stream

import (
	"cohortsync/internal/catalog"
	"cohortsync/internal/event"
)

// cohort returns the feed's cohort, new where it was not known.
func (f *feed) cohort(id []byte, route *catalog.Sync) (c *cohort, told []func()) {
	if c, ok := f.cohorts[string(id)]; ok {
		return c, nil
	}
	g := f.g
	c = &cohort{id: string(id), feed: f, sync: route, nameless: g.t.Namer == nil}
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
	return c, f.settleIn(c)
}

// settleIn notes the partition of a cohort that is new to the feed, and returns
// what to log about it once the mutex is released.
func (f *feed) settleIn(c *cohort) (told []func()) {
	t := f.g.t
	home, known := t.homes[c.id]
	if !known {
		t.homes[c.id] = f.partition
	}
	if !known || home == f.partition || t.split[c.id] {
		return nil
	}
	t.split[c.id] = true
	t.metrics.splitCohorts.Inc()
	return []func(){func() {
		t.log.Warn("a cohort is in two partitions, so the order between them is not known; key every record by cohort_id",
			"cohort", c.id, "partition", f.partition, "first_partition", home)
	}}
}

// doubtTime adds to told what to log about a computed_time that cannot be
// right, once a cohort.
func (f *feed) doubtTime(c *cohort, issue event.TimeIssue, told []func()) []func() {
	if !issue.Wrong() || c.warnedTime {
		return told
	}
	c.warnedTime = true
	return append(told, func() {
		f.g.t.log.Warn("computed_time cannot be right; the record's Kafka timestamp stands in",
			"cohort", c.id, "partition", f.partition, "reason", issue.String())
	})
}
