package stream

import "fmt"

// audit checks, at a random moment, what has to hold at every moment.
func (t *Target) audit() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	f, pending := t.funnel, 0
	if t.gen != nil {
		pending = t.gen.pending
	}
	sum := f.delivered + f.superseded + f.stale + f.deadLettered + f.released + uint64(pending)
	for _, n := range f.skipped {
		sum += n
	}
	if sum != f.consumed {
		return fmt.Errorf("the funnel does not add up: consumed %d, accounted for %d: %+v", f.consumed, sum, f)
	}
	if t.gen == nil {
		return nil
	}
	return t.gen.audit()
}

func (g *generation) audit() error {
	pending, used := 0, g.memory.reserved+int64(g.cooling.moments())*restCost
	entries := make(map[*cohort][]*entry)
	for r := ref(1); r < g.store.unused; r++ {
		if e := g.store.at(r); e.length > 0 {
			c := g.store.cohortOf(e)
			if key := g.store.key(e); g.store.find(c, key, g.store.hash(key)) != r {
				return fmt.Errorf("cohort %s does not find %q", c.id, key)
			}
			entries[c] = append(entries[c], e)
		}
	}
	for _, f := range g.feeds {
		used += int64(f.tracker.length) * markCost
		inFeed, resting := 0, 0
		for _, c := range f.cohorts {
			used += cohortCost + int64(len(c.id))
			queued := 0
			for _, e := range entries[c] {
				used += e.cost()
				if e.flying {
					inFeed++
				}
				if e.cooling {
					resting++
				}
				if e.waiting {
					inFeed++
					if !e.flying && !e.cooling {
						queued++
					}
					if e.offset < f.tracker.unsettled() {
						return fmt.Errorf("partition %d would commit %d past the unsettled %d", f.partition, f.tracker.unsettled(), e.offset)
					}
				}
			}
			if queued != c.queue.length {
				return fmt.Errorf("cohort %s has %d waiting and %d queued", c.id, queued, c.queue.length)
			}
			if _, _, due := c.due(g.schedule.maxBatch); due != (c.slot.in != nil) {
				return fmt.Errorf("cohort %s: due %v, scheduled %v", c.id, due, c.slot.in != nil)
			}
		}
		if inFeed != f.pending {
			return fmt.Errorf("partition %d counts %d pending and holds %d", f.partition, f.pending, inFeed)
		}
		if resting != f.resting {
			return fmt.Errorf("partition %d counts %d resting and holds %d", f.partition, f.resting, resting)
		}
		pending += inFeed
	}
	if pending != g.pending {
		return fmt.Errorf("%d pending counted, %d held", g.pending, pending)
	}
	if used != g.memory.used {
		return fmt.Errorf("%d bytes counted, %d held", g.memory.used, used)
	}
	// Every feed may hold one batch beyond the limit, and nothing waits for room
	// to note a cohort.
	slack := int64(len(g.feeds)) * int64(g.schedule.maxBatch) * 2 * (entryCost + restCost + markCost + 64)
	for _, f := range g.feeds {
		for _, c := range f.cohorts {
			slack += cohortCost + int64(len(c.id))
		}
	}
	if used > g.memory.limit+slack {
		return fmt.Errorf("%d bytes used of %d", used, g.memory.limit)
	}
	return nil
}
