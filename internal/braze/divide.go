package braze

import "errors"

// crowd is the number of identifiers from which on it cannot be that all are
// at fault: then it is the request.
const crowd = 10

// rejected is an answer about what is in the batch, to be found by dividing
// it.
type rejected struct {
	fault Fault
	// tooLarge is a 413: only the size is wrong.
	tooLarge bool
}

func (r *rejected) Error() string { return r.fault.Message }

// division searches a batch for the items at fault. try sends the items
// [from, to) and returns nil, *partial, *rejected, or any other error, which
// ends the search.
type division struct {
	try    func(from, to int) error
	report Report
	// accepted says that a request has passed, be it the one without items.
	accepted, delivered bool
}

// divide sends n items in as few requests as it takes to tell what becomes of
// each: for k at fault of n, at most 2k·⌈log2 n⌉ after the first, plus one
// without any items. That one is sent when the first item fails by itself
// before anything has passed: it tells the item's fault from the request's.
func divide(n int, try func(from, to int) error) Report {
	d := division{try: try, report: Report{Outcomes: make([]Outcome, n)}}
	err := d.search(0, n)
	faults := len(d.report.Faults)
	if err == nil && faults == n && n >= crowd {
		err = d.everybody()
	}
	if err != nil {
		d.report.Err = err
	}
	if d.report.Err != nil && n >= crowd && !d.delivered {
		// Perhaps all would have failed: nobody is at fault yet.
		clear(d.report.Outcomes)
		d.report.Faults = nil
	}
	return d.report
}

func (d *division) everybody() error {
	first := d.report.Faults[0]
	return &Error{Class: Invalid, Status: first.Status, Message: "every identifier of the batch is refused: " + first.Message}
}

// search sends the items [from, to) and, where they are rejected, their
// halves.
func (d *division) search(from, to int) error {
	err := d.try(from, to)
	if err == nil {
		d.accepted = true
		d.delivered = d.delivered || from < to
		for i := from; i < to; i++ {
			d.report.Outcomes[i] = Delivered
		}
		return nil
	}
	if some, ok := errors.AsType[*partial](err); ok {
		d.settle(from, to, some)
		return nil
	}
	var r *rejected
	if !errors.As(err, &r) {
		return err
	}
	if to-from <= 1 {
		return d.single(from, to, r)
	}
	middle := from + (to-from+1)/2
	if err := d.search(from, middle); err != nil {
		return err
	}
	return d.search(middle, to)
}

// single judges an item that is rejected by itself, or an empty batch.
func (d *division) single(from, to int, r *rejected) error {
	switch {
	case r.tooLarge:
		if d.report.Err == nil {
			d.report.Err = &Error{Class: Unexpected, Status: r.fault.Status, Message: "one identifier is too large a request: " + r.fault.Message}
		}
		return nil
	case from == to:
		return &Error{Class: Invalid, Status: r.fault.Status, Message: r.fault.Message}
	}
	if !d.accepted {
		if err := d.check(r); err != nil {
			return err
		}
	}
	d.blame(from, r.fault)
	return nil
}

// settle notes what an answer says of each of the items [from, to).
func (d *division) settle(from, to int, some *partial) {
	d.accepted = d.accepted || some.passed
	for i := from; i < to; i++ {
		if fault, ok := some.faults[i-from]; ok {
			d.blame(i, fault)
		} else {
			d.delivered = true
			d.report.Outcomes[i] = Delivered
		}
	}
}

func (d *division) blame(item int, fault Fault) {
	d.report.Outcomes[item] = AtFault
	if d.report.Faults == nil {
		d.report.Faults = make(map[int]Fault)
	}
	d.report.Faults[item] = fault
}

// check sends the request without any items.
func (d *division) check(why *rejected) error {
	err := d.try(0, 0)
	var r *rejected
	switch {
	case err == nil:
		d.accepted = true
		return nil
	case errors.As(err, &r) && r.tooLarge:
		return &Error{Class: Unexpected, Status: r.fault.Status, Message: r.fault.Message}
	case errors.As(err, &r):
		return &Error{Class: Invalid, Status: why.fault.Status, Message: why.fault.Message}
	default:
		return err
	}
}
