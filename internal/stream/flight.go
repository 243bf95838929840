package stream

import (
	"slices"

	"cohortsync/internal/braze"
	"cohortsync/internal/mapping"
)

// flight is one request under way, and what becomes of it.
type flight struct {
	cohort *cohort
	// items are the changes it carries; none when it names the cohort.
	items []flown
	// text has the packed identifiers of items, one behind the other.
	text string
	// naming names the cohort, or is nil. It is a copy, for the feed may learn
	// of a newer name while the request is under way.
	naming *braze.Naming
	// probe says that it left while the target was locked.
	probe bool

	// scratch and batch are room for making the request.
	scratch []byte
	batch   []braze.Item
}

// key returns the packed identifier of an item.
func (f *flight) key(i int) string {
	from := uint32(0)
	if i > 0 {
		from = f.items[i-1].keyEnd
	}
	return f.text[from:f.items[i].keyEnd]
}

// request returns the batch that the flight carries. It is valid until the
// flight ends.
func (f *flight) request(mapper *mapping.Mapper) braze.Batch {
	f.batch = slices.Grow(f.batch[:0], len(f.items))
	for i := range f.items {
		f.batch = append(f.batch, braze.Item{})
		it := &f.batch[i]
		it.Identifier, it.Remove = mapper.Identifier(f.key(i)), !f.items[i].in
	}
	return braze.Batch{CohortID: f.cohort.id, Attribute: f.cohort.attribute, Items: f.batch}
}

// The most flights that wait to be used again, and the most bytes of keys that
// one of them keeps room for.
const (
	spareFlights = 32
	spareScratch = 64 << 10
)

// hangar keeps flights that have ended: a new one of a thousand items is a
// hundred kilobytes of garbage.
type hangar struct{ spare []*flight }

func (h *hangar) take() *flight {
	n := len(h.spare)
	if n == 0 {
		return new(flight)
	}
	f := h.spare[n-1]
	h.spare = h.spare[:n-1]
	return f
}

// back takes a flight that nobody uses any more.
func (h *hangar) back(f *flight) {
	if len(h.spare) == spareFlights || cap(f.scratch) > spareScratch {
		return
	}
	clear(f.batch) // It points into the text.
	*f = flight{items: f.items[:0], scratch: f.scratch[:0], batch: f.batch[:0]}
	h.spare = append(h.spare, f)
}
