package stream

import "math/bits"

// index finds a cohort's entries by the hash of their keys: an open-addressing
// table with linear probing. A slot holds the hash and the entry, so that a
// search looks at few entries and growing at none. A search begins where the
// hash's upper bits say, so that the slots stand in the order of their hashes,
// nearly, and growing reads and writes memory from one end to the other.
type index struct {
	slots []slotOf
	n     int
}

// slotOf is a hash in its upper half and a ref in its lower one; 0 is empty.
type slotOf uint64

func slotFor(hash uint32, r ref) slotOf { return slotOf(hash)<<32 | slotOf(r) }

func (s slotOf) hash() uint32 { return uint32(s >> 32) }
func (s slotOf) ref() ref     { return ref(s) }

// home is where a search for the hash begins. There must be slots.
func (x *index) home(hash uint32) uint32 {
	return hash >> (32 - bits.TrailingZeros32(uint32(len(x.slots))))
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
	mask := uint32(len(x.slots) - 1)
	for i := x.home(hash); x.slots[i] != 0; i = (i + 1) & mask {
		if s := x.slots[i]; s.hash() == hash && same(s.ref()) {
			return s.ref()
		}
	}
	return 0
}

func (x *index) add(hash uint32, r ref) {
	if x.n*4 >= len(x.slots)*3 {
		x.grow()
	}
	x.place(slotFor(hash, r))
	x.n++
}

func (x *index) place(s slotOf) {
	mask := uint32(len(x.slots) - 1)
	i := x.home(s.hash())
	for x.slots[i] != 0 {
		i = (i + 1) & mask
	}
	x.slots[i] = s
}

func (x *index) grow() {
	x.resize(max(8, 2*len(x.slots)))
}

func (x *index) resize(n int) {
	old := x.slots
	x.slots = make([]slotOf, n)
	for _, s := range old {
		if s != 0 {
			x.place(s)
		}
	}
}

// remove takes an entry out and moves those behind it up, so that no search
// ends before it should.
func (x *index) remove(hash uint32, r ref) {
	mask := uint32(len(x.slots) - 1)
	hole := x.home(hash)
	for x.slots[hole].ref() != r {
		hole = (hole + 1) & mask
	}
	for i := (hole + 1) & mask; x.slots[i] != 0; i = (i + 1) & mask {
		// It may move up unless that were before where its search begins.
		if home := x.home(x.slots[i].hash()); (i-home)&mask >= (i-hole)&mask {
			x.slots[hole] = x.slots[i]
			hole = i
		}
	}
	x.slots[hole] = 0
	x.n--
	// A cohort that is forgotten gives its table back, for the budget does not
	// count what is empty.
	if len(x.slots) > 64 && x.n < len(x.slots)/8 {
		x.resize(len(x.slots) / 4)
	}
}
