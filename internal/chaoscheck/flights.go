package chaoscheck

import (
	"fmt"
	"strings"
)

// judgeFlights wants one request in flight for each cohort of the cohorts API,
// naming included, and for each identifier of the attributes API.
func (j *judge) judgeFlights() {
	for _, t := range j.Targets {
		last := make(map[subject]*Request)
		requests := j.Braze[t.Name].Requests
		for i := range requests {
			r := &requests[i]
			told := false
			for _, key := range keysOf(t, r) {
				before := last[key]
				if !told && before != nil && j.overlap(before, r) {
					what := fmt.Sprintf("%s, cohort %s: request %d of %s came at %s, while request %d of %s was in flight from %s to %s", t.Name, key.cohort,
						r.Seq, r.Worker, clock(r.Came), before.Seq, before.Worker, clock(before.Came), clock(before.Over))
					j.differences = append(j.differences, Difference{RuleFlight, what, j.flightStory(t, key, before, r)})
					told = true
				}
				if before == nil || before.Over.Before(r.Over) {
					last[key] = r
				}
			}
		}
	}
}

// keysOf returns what a request has to itself while it is in flight.
func keysOf(t Target, r *Request) []subject {
	if !t.Attributes {
		return []subject{{target: t.Name, cohort: r.Cohort}}
	}
	keys := make([]subject, len(r.Ops))
	for i, op := range r.Ops {
		keys[i] = subject{t.Name, strings.TrimPrefix(op.Cohort, t.cohortAtBraze("")), op.Identifier}
	}
	return keys
}

// overlap says whether a request came while the one before was in flight. Of a
// client that has gone without an answer Braze may not know yet; and one that
// is frozen keeps its connection, while to everybody else its request has ended
// with its deadline.
func (j *judge) overlap(before, r *Request) bool {
	if before.Over.IsZero() {
		return false
	}
	over, slack := before.Over, clockSlack
	if !before.Answered {
		slack = goneSlack
		if deadline := before.Came.Add(j.RequestTimeout); deadline.Before(over) {
			over = deadline
		}
	}
	return r.Came.Before(over.Add(-slack))
}
