package brazetest

import "fmt"

// overlap is a request that came while another was in flight, and what the two
// have in common.
type overlap struct {
	with *Request
	what string
}

// enter notes the request as in flight. It says false when Braze answers 423,
// for another request has the cohort; the attributes API locks nothing.
func (x *exchange) enter() bool {
	x.hold()
	if x.Track {
		return true
	}
	c := x.server.cohort(x.Cohort)
	if c.busy == nil {
		c.busy = x
		return true
	}
	x.meets(c.busy, "")
	return false
}

// hold finds the places of all operations, and what is in one of them twice.
func (x *exchange) hold() {
	x.places = make([]place, len(x.Ops))
	var c *cohort
	for i, op := range x.Ops {
		if i == 0 || op.Cohort != x.Ops[i-1].Cohort {
			c = x.server.cohort(op.Cohort)
		}
		u := c.hold(op.Identifier)
		x.places[i] = place{c, u}
		if u.seen == x.Seq {
			x.server.violation(x.Request, "%v of %q twice", op, op.Cohort)
		}
		u.seen = x.Seq
		if !x.Track {
			continue
		}
		if u.busy != nil && u.busy != x {
			x.meets(u.busy, fmt.Sprintf("%v of %q ", op, op.Cohort))
		}
		u.busy = x
	}
}

// meets notes that the request came while another was in flight.
func (x *exchange) meets(other *exchange, what string) {
	if x.direct {
		x.server.violation(x.Request, "%sin flight together with request %d", what, other.Seq)
		return
	}
	other.overlaps = append(other.overlaps, overlap{x.Request, what})
}

// leave ends the request's time in flight.
func (x *exchange) leave(kind Kind, gone bool) {
	for i, p := range x.places {
		if p.user.busy == x {
			p.user.busy = nil
		}
		p.cohort.release(x.Ops[i].Identifier, p.user)
		if x.Track {
			x.server.forget(x.Ops[i].Cohort)
		}
	}
	x.places = nil
	if c := x.server.cohorts[x.Cohort]; !x.Track && c != nil {
		if c.busy == x {
			c.busy = nil
		}
		x.server.forget(x.Cohort)
	}
	if gone || kind == Silent {
		return
	}
	for _, o := range x.overlaps {
		x.server.violation(o.with, "%sin flight together with request %d", o.what, x.Seq)
	}
}
