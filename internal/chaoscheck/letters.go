package chaoscheck

import (
	"fmt"
	"slices"
)

// judgeLetters wants letters for the poison and for nothing else. A crash may
// repeat a letter, so repeats count once.
func (j *judge) judgeLetters() {
	whole := make(map[Place]map[int64]bool)
	distinct := make(map[string]bool)
	for _, l := range j.Letters {
		j.counts.Letters++
		distinct[fmt.Sprint(l.Target, l.Stage, l.Partition, l.Offset, l.Identifiers)] = true
		if l.Stage == "decode" {
			place := Place{l.Target, l.Partition}
			if whole[place] == nil {
				whole[place] = make(map[int64]bool)
			}
			whole[place][l.Offset] = true
			if !slices.ContainsFunc(j.undecodable, func(r Record) bool { return r.Partition == l.Partition && r.Offset == l.Offset }) {
				j.differ(RuleLetters, fmt.Sprintf("%s: a letter says that %d/%d cannot be decoded, and it can", l.Target, l.Partition, l.Offset), nil)
			}
			continue
		}
		j.judgeLetter(l)
	}
	j.counts.DistinctLetters = len(distinct)
	for _, t := range j.Targets {
		for _, r := range j.undecodable {
			if !whole[Place{t.Name, r.Partition}][r.Offset] {
				j.differ(RuleLetters, fmt.Sprintf("%s: %d/%d cannot be decoded, and has no letter", t.Name, r.Partition, r.Offset), nil)
			}
		}
	}
}

// judgeLetter notes a letter about identifiers, and wants them to be poison.
func (j *judge) judgeLetter(l Letter) {
	for _, id := range l.Identifiers {
		found := false
		for s, all := range j.changes {
			if s.target != l.Target || s.id != id ||
				!slices.ContainsFunc(all, func(c change) bool { return c.partition == l.Partition && c.offset == l.Offset }) {
				continue
			}
			found = true
			if !j.poisoned(s) {
				j.differ(RuleLetters, fmt.Sprintf("there is a letter about %d/%d, and Braze takes it", l.Partition, l.Offset), &s)
			}
			key := letterKey{s, l.Partition, l.Offset}
			if at, known := j.letters[key]; !known || l.Written.Before(at) {
				j.letters[key] = l.Written
			}
		}
		if !found {
			j.differ(RuleLetters, fmt.Sprintf("%s: a letter is about %v at %d/%d, which is not there", l.Target, id, l.Partition, l.Offset), nil)
		}
	}
}

func (j *judge) buried(s subject, c change) bool {
	_, ok := j.letters[letterKey{s, c.partition, c.offset}]
	return ok
}
