package stream

import "math/bits"

// index finds a cohort's entries by the hash of their keys: an open-addressing
// table with linear probing. A slot holds the hash and the entry, so that a
// search looks at few entries and growing at none.
//
// A hash's home, where a search for it begins, is told by its upper bits; and
// of two slots the one with the smaller hash stands first ("Robin Hood
// hashing"). So the table is sorted, but for what runs over its end and goes on
// at its beginning. A search ends where it would have found what it looks for,
// and growing reads the old table and writes the new one from one end to the
// other, without looking for places.
type index struct {
	slots []slotOf
	n     int
	// shift leaves of a hash the upper bits that tell its home.
	shift uint8
}

// slotOf is a hash in its upper half and a ref in its lower one; 0 is empty.
type slotOf uint64

func slotFor(hash uint32, r ref) slotOf { return slotOf(hash)<<32 | slotOf(r) }

func (s slotOf) hash() uint32 { return uint32(s >> 32) }
func (s slotOf) ref() ref     { return ref(s) }

// home is where a search for the hash begins. There must be slots.
func (x *index) home(hash uint32) uint32 { return hash >> x.shift }

// after returns the place behind i.
func (x *index) after(i uint32) uint32 { return (i + 1) & uint32(len(x.slots)-1) }

// distance is how far from its home a slot stands that is at i.
func (x *index) distance(s slotOf, i uint32) uint32 {
	return (i - x.home(s.hash())) & uint32(len(x.slots)-1)
}

// touch looks at where a search for the hash begins.
func (x *index) touch(hash uint32) slotOf {
	if len(x.slots) == 0 {
		return 0
	}
	return x.slots[x.home(hash)]
}

// find returns the first entry of the hash that same says is the one, or 0.
func (x *index) find(hash uint32, same func(ref) bool) ref {
	if x.n == 0 {
		return 0
	}
	i := x.home(hash)
	for far := uint32(0); ; far++ {
		s := x.slots[i]
		if s == 0 || x.distance(s, i) < far {
			return 0
		}
		if s.hash() == hash && same(s.ref()) {
			return s.ref()
		}
		i = x.after(i)
	}
}

func (x *index) add(hash uint32, r ref) {
	if x.n*4 >= len(x.slots)*3 {
		x.resize(max(8, 2*len(x.slots)))
	}
	x.place(slotFor(hash, r))
	x.n++
}

// place puts a slot where it belongs, and moves those behind it on.
func (x *index) place(s slotOf) {
	i := x.home(s.hash())
	for far := uint32(0); x.slots[i] != 0; far++ {
		there := x.slots[i]
		if d := x.distance(there, i); d < far || d == far && there.hash() > s.hash() {
			x.slots[i], s, far = s, there, d
		}
		i = x.after(i)
	}
	x.slots[i] = s
}

// resize makes the table one of n slots, a power of two and more than there are
// entries.
func (x *index) resize(n int) {
	old := *x
	x.slots, x.shift = make([]slotOf, n), uint8(32-bits.TrailingZeros(uint(n)))
	first := old.first()
	next := x.fill(old.slots[first:], 0)
	x.fill(old.slots[:first], next)
}

// first returns the first place that is not of what runs over the end.
func (x *index) first() int {
	for i, s := range x.slots {
		if s == 0 || x.home(s.hash()) <= uint32(i) {
			return i
		}
	}
	return 0
}

// fill adds slots in the order of their hashes to a table that is empty from
// next on, and returns the place behind the last one. It does not ask whether a
// slot is empty before it writes it, for that is anybody's guess and the
// processor's would be wrong every third time.
func (x *index) fill(from []slotOf, next uint32) uint32 {
	for _, s := range from {
		i := max(x.home(s.hash()), next)
		if i >= uint32(len(x.slots)) {
			if s != 0 {
				x.place(s)
			}
			continue
		}
		x.slots[i] = s
		if s != 0 {
			next = i + 1
		}
	}
	return next
}

// remove takes an entry out and moves those behind it up, so that no search
// ends before it should.
func (x *index) remove(hash uint32, r ref) {
	hole := x.home(hash)
	for x.slots[hole].ref() != r {
		hole = x.after(hole)
	}
	for i := x.after(hole); x.slots[i] != 0 && x.distance(x.slots[i], i) > 0; i = x.after(i) {
		x.slots[hole] = x.slots[i]
		hole = i
	}
	x.slots[hole] = 0
	x.n--
	// A cohort that is forgotten gives its table back, for the budget does not
	// count what is empty.
	if len(x.slots) > 64 && x.n < len(x.slots)/8 {
		x.resize(len(x.slots) / 4)
	}
}
