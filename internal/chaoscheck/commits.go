package chaoscheck

import (
	"fmt"
	"slices"
	"time"
)

// judgeCommits wants every change settled when a commit passes it: delivered,
// in the dead-letter topic, or overtaken by a newer change that is, or that the
// commit has not passed.
func (j *judge) judgeCommits() {
	for s, all := range j.changes {
		owners := j.owners(s)
		if owners == nil {
			continue
		}
		for _, c := range all {
			i := slices.IndexFunc(owners.Commits, func(commit Commit) bool { return commit.Offset > c.offset })
			if i < 0 {
				continue // Then it is not committed to the end, which is told elsewhere.
			}
			commit := owners.Commits[i]
			if !slices.ContainsFunc(all, func(n change) bool { return newness(n, c) >= 0 && j.settled(s, n, commit) }) {
				j.differ(RuleSettled, fmt.Sprintf("%v was not settled when %d was committed at %s", c, commit.Offset, clock(commit.At)), &s)
				break
			}
		}
	}
	for _, t := range j.Targets {
		for partition := range j.Ends {
			if o := j.Owners[Place{t.Group, partition}]; o != nil {
				j.counts.Lives += len(o.Lives)
				j.counts.Commits += len(o.Commits)
			}
		}
	}
}

// settled says whether a change was settled at a commit, or holds a later one.
func (j *judge) settled(s subject, c change, commit Commit) bool {
	by := commit.At.Add(clockSlack)
	if c.offset >= commit.Offset {
		return !c.written.After(by)
	}
	if at, ok := j.letters[letterKey{s, c.partition, c.offset}]; ok {
		return !at.After(by)
	}
	return slices.ContainsFunc(j.ops[s], func(o sent) bool {
		r := o.request
		return r.Applied && !o.op.Refused && o.op.Remove != c.in && !r.Over.After(by) && !r.Came.Before(c.written.Add(-time.Millisecond))
	})
}
