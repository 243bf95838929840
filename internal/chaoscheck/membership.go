package chaoscheck

import (
	"fmt"
	"slices"
	"strings"
)

// judgeMembership compares who is a member with what the log says.
func (j *judge) judgeMembership() {
	for s, all := range j.changes {
		member := j.memberAtBraze(s)
		if j.poisoned(s) {
			if member {
				j.differ(RuleMembership, "is a member, and Braze refuses it", &s)
			}
			if !slices.ContainsFunc(j.lastWords(s, all), func(c change) bool { return j.buried(s, c) }) {
				j.differ(RuleLetters, "its newest change has no letter", &s)
			}
			continue
		}
		last := j.lastWords(s, all)
		if !slices.ContainsFunc(last, func(c change) bool { return c.in == member }) {
			j.differ(RuleMembership, fmt.Sprintf("member: %t, and the newest change is %v", member, last[0]), &s)
		}
	}
	for _, t := range j.Targets {
		for atBraze, members := range j.Braze[t.Name].Members {
			for id := range members {
				s := subject{t.Name, strings.TrimPrefix(atBraze, t.cohortAtBraze("")), id}
				if j.changes[s] == nil {
					j.differ(RuleMembership, s.String()+": is a member, and not in the log", nil)
				}
			}
		}
	}
}

func (j *judge) poisoned(s subject) bool { return strings.HasPrefix(s.id.Value, j.Poison) }

func (j *judge) memberAtBraze(s subject) bool {
	for _, t := range j.Targets {
		if t.Name == s.target {
			return j.Braze[s.target].Members[t.cohortAtBraze(s.cohort)][s.id]
		}
	}
	return false
}

// lastWords returns the changes with which a subject may end. That is the
// newest, unless late changes came: an older change that comes after a newer
// one counts as late only while its feed remembers the newer one, which ends
// with the owner's life. So it is the newest of those that the last owner who
// had any of them began with or read later. Where owners are not known it may
// have begun anywhere.
func (j *judge) lastWords(s subject, all []change) []change {
	owners := j.owners(s)
	if owners == nil {
		var each []change
		for i := range slices.Backward(all) {
			each = append(each, slices.MaxFunc(all[i:], newness))
		}
		slices.Reverse(each)
		return each
	}
	for _, life := range slices.Backward(owners.Lives) {
		if read := from(all, life.Start); len(read) > 0 {
			return []change{slices.MaxFunc(read, newness)}
		}
	}
	return []change{slices.MaxFunc(all, newness)}
}

// from returns the changes at an offset or after it.
func from(all []change, offset int64) []change {
	i := slices.IndexFunc(all, func(c change) bool { return c.offset >= offset })
	if i < 0 {
		return nil
	}
	return all[i:]
}
