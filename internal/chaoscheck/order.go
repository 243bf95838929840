package chaoscheck

import (
	"fmt"
	"slices"
	"time"
)

// judgeOrder holds every owner's operations against its changes: within one
// life no operation comes after a newer one, and none is about a change that
// was committed before the life began. An operation says only in or out, so
// each is taken for the oldest change that it can be: if even that is older
// than the one before, or there is none, it is out of order.
//
// Whose operation it is follows from when it came. A worker sends nothing once
// another may own its partition, so one that comes later is held against the
// new owner's changes, and found.
func (j *judge) judgeOrder() {
	for s, ops := range j.ops {
		owners := j.owners(s)
		if owners == nil {
			continue
		}
		life := -1
		var candidates []change
		for _, o := range ops {
			if now := owners.at(o.request.Came); now != life {
				life = now
				if life >= 0 {
					candidates = slices.Clone(from(j.changes[s], owners.Lives[life].Start))
					slices.SortFunc(candidates, newness)
				}
			}
			if life < 0 {
				j.differ(RuleOrder, fmt.Sprintf("request %d came before anybody owned its partition", o.request.Seq), &s)
				break
			}
			at := slices.IndexFunc(candidates, func(c change) bool { return c.in != o.op.Remove && !c.written.After(o.request.Came) })
			if at < 0 {
				j.differ(RuleOrder, fmt.Sprintf("request %d (in=%t) came after a newer one, or is about a change that was committed before", o.request.Seq, !o.op.Remove), &s)
				break
			}
			candidates = candidates[at:]
		}
	}
}

// at returns which life it was at a moment, or -1.
func (o *Ownership) at(moment time.Time) int {
	for i, life := range slices.Backward(o.Lives) {
		if !life.Began.After(moment) {
			return i
		}
	}
	return -1
}
