package chaoscheck

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Difference is something that should not be.
type Difference struct {
	// Rule is which rule is broken.
	Rule string
	// What says it in one line.
	What string
	// Story is all that is known of the identifier, a line each; nil for a
	// difference that is about none.
	Story []string
}

// Counts say how much was judged.
type Counts struct {
	Records, Changes, Late, Subjects       int
	Requests, Operations, Lives, Commits   int
	Letters, DistinctLetters, Undecodables int
}

// Verdict is the outcome.
type Verdict struct {
	Counts      Counts
	Differences []Difference
}

// The rules, as differences name them.
const (
	RuleMembership = "final membership"
	RuleFlight     = "one request in flight"
	RuleOrder      = "order"
	RuleSettled    = "settled before committed"
	RuleEnd        = "committed to the end"
	RuleLetters    = "dead letters"
	RuleClient     = "violations"
	RuleSecrets    = "no secret in a log"
)

// Times on which the clocks of two processes of one machine, and the
// notice that one has of the other's end, may differ.
const (
	// clockSlack is for moments that Kafka keeps in milliseconds.
	clockSlack = 50 * time.Millisecond
	// goneSlack is how late Braze may notice that a client has gone.
	goneSlack = 500 * time.Millisecond
)

type judge struct {
	Evidence
	counts      Counts
	differences []Difference
	changes     map[subject][]change
	undecodable []Record
	// homes has the partition of each cohort.
	homes map[string]int32
	// ops has each subject's operations in the order in which they came.
	ops map[subject][]sent
	// letters has the first letter of each subject and source place.
	letters map[letterKey]time.Time
}

// sent is an operation, and the request that it came in.
type sent struct {
	op      Op
	request *Request
}

// letterKey is who a letter is about, and where that stood in the log.
type letterKey struct {
	subject   subject
	partition int32
	offset    int64
}

// Judge compares the evidence with the rules.
func Judge(e Evidence) Verdict {
	j := &judge{
		Evidence: e, changes: make(map[subject][]change), homes: make(map[string]int32),
		ops: make(map[subject][]sent), letters: make(map[letterKey]time.Time),
	}
	j.readLog()
	j.readRequests()
	j.judgeLetters()
	j.judgeMembership()
	j.judgeFlights()
	j.judgeOrder()
	j.judgeCommits()
	j.judgeEnds()
	for _, t := range j.Targets {
		for _, v := range j.Braze[t.Name].Violations {
			j.differ(RuleClient, t.Name+": "+v, nil)
		}
	}
	j.counts.Records, j.counts.Subjects = len(j.Log), len(j.changes)
	j.counts.Undecodables = len(j.undecodable)
	slices.SortFunc(j.differences, func(a, b Difference) int {
		return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.What, b.What))
	})
	return Verdict{j.counts, j.differences}
}

func (j *judge) differ(rule, what string, about *subject) {
	d := Difference{Rule: rule, What: what}
	if about != nil {
		d.What = about.String() + ": " + what
		d.Story = j.story(*about)
	}
	j.differences = append(j.differences, d)
}

// readRequests sorts every target's operations by subject.
func (j *judge) readRequests() {
	for _, t := range j.Targets {
		requests := j.Braze[t.Name].Requests
		slices.SortStableFunc(requests, func(a, b Request) int { return cmp.Compare(a.Seq, b.Seq) })
		j.counts.Requests += len(requests)
		names := make(map[string]string)
		for cohort := range j.homes {
			names[t.cohortAtBraze(cohort)] = cohort
		}
		for i := range requests {
			r := &requests[i]
			j.counts.Operations += len(r.Ops)
			for _, op := range r.Ops {
				cohort, known := names[op.Cohort]
				s := subject{t.Name, cohort, op.Identifier}
				if !known || j.changes[s] == nil {
					j.differ(RuleOrder, fmt.Sprintf("%s: request %d is about cohort %s, %v, which is not in the log", t.Name, r.Seq, op.Cohort, op.Identifier), nil)
					continue
				}
				j.ops[s] = append(j.ops[s], sent{op, r})
			}
		}
	}
}

// owners returns what is known of who owned a subject's partition, or nil.
func (j *judge) owners(s subject) *Ownership {
	return j.Owners[Place{j.group(s.target), j.homes[s.cohort]}]
}

func (j *judge) group(target string) string {
	for _, t := range j.Targets {
		if t.Name == target {
			return t.Group
		}
	}
	return ""
}

// judgeEnds wants every group at the end of the log.
func (j *judge) judgeEnds() {
	for _, t := range j.Targets {
		for partition, end := range j.Ends {
			if at := j.Committed[Place{t.Group, partition}]; at != end {
				j.differ(RuleEnd, fmt.Sprintf("%s, partition %d: %d is committed, the log ends at %d", t.Group, partition, at, end), nil)
			}
		}
	}
}
