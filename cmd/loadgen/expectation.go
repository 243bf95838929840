package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
)

// expectation knows who is in which cohort once every acknowledged record has
// been taken in: the newest change of each membership, by computed_time and
// then by the order of the log. It needs 8 bytes a membership.
//
// Records of different cohorts may be taken in at the same time; those of one
// cohort come in the order of the log.
type expectation struct {
	people *population
	// newest has the time of the newest change of each membership, times two,
	// plus one for who is in; 0 for a membership that nothing was said about.
	newest []int64
}

func newExpectation(p *population) *expectation {
	return &expectation{people: p, newest: make([]int64, p.total())}
}

// take takes an acknowledged record in.
func (e *expectation) take(r record) {
	cohort := int(r.people.cohort)
	state := r.time << 1
	if r.in {
		state++
	}
	for i := range int64(r.people.users) {
		m := e.people.membership(cohort, r.people.first+i)
		if r.time >= e.newest[m]>>1 {
			e.newest[m] = state
		}
	}
}

// outcome is what the file with the expected membership says.
type outcome struct {
	Version int    `json:"version"`
	Topic   string `json:"topic"`
	Seed    uint64 `json:"seed"`
	// Records and Changes were acknowledged. What a retry put into the log
	// once more counts once.
	Records int64 `json:"records"`
	Changes int64 `json:"changes"`
	// Uncertain records were sent and not acknowledged before the run had to
	// stop: they may be in the log, and the membership may differ by them.
	Uncertain int64            `json:"uncertain,omitempty"`
	Cohorts   []expectedCohort `json:"cohorts"`
}

// outcomeVersion is the format of the file.
const outcomeVersion = 1

// expectedCohort is a cohort that at least one record was about. Its external
// ids are sorted.
type expectedCohort struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Members []string `json:"members"`
	// Left are those who are not in, and about whom a record was.
	Left []string `json:"left"`
}

// write writes the file, a cohort a line. It holds no cohort in memory, and so
// does not build an outcome: head is one without cohorts.
func (e *expectation) write(to io.Writer, head outcome) error {
	head.Version, head.Cohorts = outcomeVersion, []expectedCohort{}
	begin, err := json.Marshal(head)
	if err != nil {
		return fmt.Errorf("encoding the expected membership: %w", err)
	}
	w := bufio.NewWriterSize(to, 1<<16)
	const end = "]}"
	_, _ = w.Write(begin[:len(begin)-len(end)]) // The writer keeps its first error for Flush.
	separator := "\n"
	for cohort := range e.people.ends {
		if !e.touched(cohort) {
			continue
		}
		fmt.Fprintf(w, `%s{"id":%q,"name":%q,"members":[`, separator, e.people.cohortID(cohort), e.people.cohortName(cohort))
		e.list(w, cohort, true)
		_, _ = w.WriteString(`],"left":[`)
		e.list(w, cohort, false)
		_, _ = w.WriteString(end)
		separator = ",\n"
	}
	_, _ = w.WriteString("\n" + end + "\n")
	if err := w.Flush(); err != nil {
		return fmt.Errorf("writing the expected membership: %w", err)
	}
	return nil
}

func (e *expectation) touched(cohort int) bool {
	for _, state := range e.newest[e.people.begin(cohort):e.people.ends[cohort]] {
		if state != 0 {
			return true
		}
	}
	return false
}

// list writes the external ids of those who are in, or who left.
func (e *expectation) list(w *bufio.Writer, cohort int, in bool) {
	separator := ""
	var text []byte
	for m := e.people.begin(cohort); m < e.people.ends[cohort]; m++ {
		state := e.newest[m]
		if state == 0 || (state&1 == 1) != in {
			continue
		}
		text = append(append(text[:0], separator...), '"')
		text = append(e.people.appendUserID(text, e.people.user(cohort, m)), '"')
		_, _ = w.Write(text)
		separator = ","
	}
}
