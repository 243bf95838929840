package main

import "container/heap"

// holding has the records that are held back, each until the clock has come to
// its time.
type holding []held

type held struct {
	until int64
	record
}

func (h *holding) hold(r record, until int64) { heap.Push(h, held{until, r}) }

// release returns a record whose time has come.
func (h *holding) release(clock int64) (record, bool) {
	if len(*h) == 0 || (*h)[0].until > clock {
		return record{}, false
	}
	return h.releaseAny()
}

// releaseAny returns the record whose time comes first.
func (h *holding) releaseAny() (record, bool) {
	if len(*h) == 0 {
		return record{}, false
	}
	return heap.Pop(h).(held).record, true //nolint:forcetypeassert // Only held are pushed.
}

// Len is for package heap, as are the others.
func (h *holding) Len() int           { return len(*h) }
func (h *holding) Less(i, j int) bool { return (*h)[i].until < (*h)[j].until }
func (h *holding) Swap(i, j int)      { (*h)[i], (*h)[j] = (*h)[j], (*h)[i] }
func (h *holding) Push(x any)         { *h = append(*h, x.(held)) } //nolint:forcetypeassert // As above.

func (h *holding) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}
