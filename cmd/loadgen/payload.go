package main

import (
	"fmt"
	"strconv"
	"time"

	"cohortsync/internal/event"
)

// encoder writes records out. It keeps its buffers, and is not safe for
// concurrent use.
type encoder struct {
	people *population
	names  []string // Of the properties.
	// scratch holds the texts of one record's users, and ends where each ends.
	scratch []byte
	ends    []int
	payload event.Payload
	devices []string
	values  []event.Property
	// perUser is how many device ids a user has.
	perUser int
	// cohorts has the ids and names that were needed before.
	cohorts map[int32]cohortLabel
}

type cohortLabel struct{ id, name string }

func newEncoder(s shape, p *population) *encoder {
	e := &encoder{people: p, perUser: s.DeviceIDs, names: make([]string, s.Properties), cohorts: make(map[int32]cohortLabel)}
	for i := range e.names {
		e.names[i] = fmt.Sprintf("property_%d", i+1)
	}
	return e
}

// label returns what the records of a cohort call it.
func (e *encoder) label(cohort int32) cohortLabel {
	l, ok := e.cohorts[cohort]
	if !ok {
		l = cohortLabel{e.people.cohortID(int(cohort)), e.people.cohortName(int(cohort))}
		e.cohorts[cohort] = l
	}
	return l
}

// appendJSON appends the value of a record to dst.
func (e *encoder) appendJSON(dst []byte, r record) []byte {
	label := e.label(r.people.cohort)
	p := &e.payload
	p.CohortID, p.CohortName, p.InCohort = label.id, label.name, r.in
	p.ComputedTime = time.UnixMicro(r.time)
	e.write(r)
	t := texts{all: string(e.scratch), ends: e.ends}
	p.MessageID = t.next()
	p.Users, e.devices, e.values = p.Users[:0], e.devices[:0], e.values[:0]
	for range r.people.users {
		m := event.Member{UserID: t.next()}
		for range e.perUser {
			e.devices = append(e.devices, t.next())
		}
		for _, name := range e.names {
			e.values = append(e.values, event.Property{Name: name, Value: t.next()})
		}
		m.DeviceIDs = e.devices[len(e.devices)-e.perUser:]
		m.Properties = e.values[len(e.values)-len(e.names):]
		p.Users = append(p.Users, m)
	}
	return p.AppendJSON(dst)
}

// write puts all texts of a record into scratch, in the order in which they
// are taken out again.
func (e *encoder) write(r record) {
	e.scratch, e.ends = e.scratch[:0], e.ends[:0]
	end := func() { e.ends = append(e.ends, len(e.scratch)) }
	e.scratch = strconv.AppendInt(e.scratch, r.time, 16)
	if r.in {
		e.scratch = append(e.scratch, "::enter::0"...)
	} else {
		e.scratch = append(e.scratch, "::exit::0"...)
	}
	end()
	cohort := int(r.people.cohort)
	for i := range int64(r.people.users) {
		user := e.people.user(cohort, e.people.membership(cohort, r.people.first+i))
		e.scratch = e.people.appendUserID(e.scratch, user)
		end()
		for n := range e.perUser {
			e.scratch = append(append(e.scratch, e.people.prefix...), "-device-"...)
			e.scratch = appendNumber(e.scratch, user)
			if n > 0 {
				e.scratch = strconv.AppendInt(append(e.scratch, '-'), int64(n+1), 10)
			}
			end()
		}
		for n := range e.names {
			e.scratch = append(appendNumber(e.scratch, user), "-property-"...)
			e.scratch = strconv.AppendInt(e.scratch, int64(n+1), 10)
			end()
		}
	}
}

// texts takes the texts of a record out again, one after the other. They share
// the memory of one string: one allocation a record.
type texts struct {
	all   string
	ends  []int
	start int
}

func (t *texts) next() string {
	s := t.all[t.start:t.ends[0]]
	t.start, t.ends = t.ends[0], t.ends[1:]
	return s
}
