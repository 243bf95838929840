package brazetest

import (
	"cmp"
	"slices"
	"time"

	"cohortsync/internal/catalog"
)

const (
	// laterSlices is how many slices the time is cut into within which accepted
	// operations are applied.
	laterSlices = 1024
	// laterRoom is for how many operations a slice keeps its room.
	laterRoom = 4096
)

// due is an operation that Braze has accepted, and the time for it.
type due struct {
	place
	id   catalog.Identifier
	step step
}

// slot is a due operation in the calendar. The time stands beside the pointer,
// for it is compared more often than the operation is looked at.
type slot struct {
	at  int64
	due *due
}

// later is a calendar of what is due. It takes the place of a goroutine: nobody
// sees the difference between what was applied at its time and what is applied,
// with that time, by the first who looks.
//
// Time is cut into slices. What is due after the present one stands in its
// slice in any order, and is sorted when that comes up: a heap of a second's
// hundred thousands of operations would be twenty places of memory to look at
// for each.
type later struct {
	// width is a slice's, in nanoseconds.
	width int64
	// front is what is due before until, sorted, and what no slice was far enough
	// for; what stands before next has been applied.
	front []slot
	next  int
	until int64
	// slices are what is due from until on; first is the first of them.
	slices [laterSlices][]slot
	first  int
	// sliced counts what is in slices.
	sliced int
	// touched keeps the compiler from leaving the looking out.
	touched int
}

// newLater returns a calendar for what is due within that time.
func newLater(within time.Duration) *later {
	return &later{width: int64(within)/(laterSlices-2) + 1}
}

func (l *later) length() int { return len(l.front) - l.next + l.sliced }

// push adds an operation that is due at at or later than now.
func (l *later) push(s slot, now int64) {
	if l.sliced == 0 {
		l.until = max(l.until, now)
	}
	if i := (s.at - l.until) / l.width; s.at >= l.until && i < laterSlices {
		place := &l.slices[(l.first+int(i))%laterSlices]
		*place = append(*place, s)
		l.sliced++
		return
	}
	behind, _ := slices.BinarySearchFunc(l.front[l.next:], s.at+1, bySlot)
	l.front = slices.Insert(l.front, l.next+behind, s)
}

func bySlot(s slot, at int64) int { return cmp.Compare(s.at, at) }

// pop returns the first operation if it is due by now, or nil.
func (l *later) pop(now int64) *due {
	for l.sliced > 0 && l.until <= now && (l.next == len(l.front) || l.front[l.next].at >= l.until) {
		l.turn()
	}
	if l.next == len(l.front) || l.front[l.next].at > now {
		return nil
	}
	d := l.front[l.next].due
	l.front[l.next] = slot{}
	l.next++
	return d
}

// turn has the next slice come up.
func (l *later) turn() {
	if l.next > 0 {
		l.front, l.next = slices.Delete(l.front, 0, l.next), 0
	}
	up := l.slices[l.first]
	l.front = append(l.front, up...)
	slices.SortFunc(l.front, func(a, b slot) int { return cmp.Compare(a.at, b.at) })
	// Each user is somewhere else in memory. Looked at in one go they come many
	// at a time, while applying one operation after the other waits for each.
	for _, s := range up {
		l.touched += s.due.user.look()
	}
	l.sliced -= len(up)
	clear(up)
	if up = up[:0]; cap(up) > laterRoom {
		up = nil
	}
	l.slices[l.first] = up
	l.first = (l.first + 1) % laterSlices
	l.until += l.width
}
