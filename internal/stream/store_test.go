package stream

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestTheStoreIsAMap holds the store to maps and slices, over any order of
// additions and removals: what was added is found by its key until it is
// removed, with its key as it was, and lists keep their order. Hashes are cut
// to a few bits, so that keys collide, at the table's beginning, at its end and
// all over it.
func TestTheStoreIsAMap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := newStore()
		cohorts := []*cohort{{id: "a"}, {id: "b"}}
		model := make([]map[string]ref, len(cohorts))
		for i, c := range cohorts {
			s.join(c)
			model[i] = make(map[string]ref)
		}
		var l list
		var order []ref
		most := 0 // Entries at once, so far.
		pick := rapid.IntRange(0, len(cohorts)-1)
		bits := rapid.SampledFrom([]uint32{0, 3, 7 << 29, 1<<32 - 1}).Draw(t, "bits of the hash")
		others := rapid.SampledFrom([]uint32{0, 1<<32 - 1}).Draw(t, "the other bits")
		hash := func(key []byte) uint32 { return s.hash(key)&bits | others&^bits }
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				i := pick.Draw(t, "cohort")
				key := fmt.Appendf(nil, "\x00%d%s", rapid.IntRange(0, 60).Draw(t, "key"), strings.Repeat("x", rapid.SampledFrom([]int{0, 20, 980}).Draw(t, "longer")))
				want, known := model[i][string(key)]
				r := s.find(cohorts[i], key, hash(key))
				if known != (r != 0) || known && r != want {
					t.Fatalf("%q is found at %d, want %d", key, r, want)
				}
				if known {
					return
				}
				r = s.add(cohorts[i], key, hash(key))
				model[i][string(key)] = r
				most = max(most, len(order)+1)
				if rapid.Bool().Draw(t, "in front") {
					s.pushFront(&l, r)
					order = slices.Insert(order, 0, r)
				} else {
					s.pushBack(&l, r)
					order = append(order, r)
				}
			},
			"remove": func(t *rapid.T) {
				if len(order) == 0 {
					t.Skip("nothing is there")
				}
				at := rapid.IntRange(0, len(order)-1).Draw(t, "which")
				r := order[at]
				e := s.at(r)
				c, key := s.cohortOf(e), string(s.key(e))
				delete(model[slices.Index(cohorts, c)], key)
				s.unlink(&l, r)
				order = slices.Delete(order, at, at+1)
				c.index.remove(hash([]byte(key)), r)
				c.index.add(s.hash([]byte(key)), r) // The store removes it by its own hash.
				s.remove(r)
			},
			"compact": func(*rapid.T) { s.compact() },
			"": func(t *rapid.T) {
				size, keys := int64(0), int64(0)
				for i, c := range cohorts {
					inOrder(t, &c.index)
					if c.index.n != len(model[i]) {
						t.Fatalf("the index counts %d of %d", c.index.n, len(model[i]))
					}
					for key, r := range model[i] {
						if got := s.find(c, []byte(key), hash([]byte(key))); got != r || string(s.key(s.at(r))) != key || s.cohortOf(s.at(r)) != c {
							t.Fatalf("%q is found at %d, want %d with that key", key, got, r)
						}
						size += s.at(r).cost()
						keys += int64(len(key))
					}
				}
				if s.keys.used != keys || l.bytes != size || l.length != len(order) {
					t.Fatalf("%d bytes of keys, %d in the list of %d; want %d, %d and %d", s.keys.used, l.bytes, l.length, keys, size, len(order))
				}
				if made := int(s.unused) - 1; made != most {
					t.Fatalf("%d entries were made for %d at once", made, most)
				}
				var listed []ref
				for r := l.front; r != 0; r = s.at(r).next {
					listed = append(listed, r)
				}
				if !slices.Equal(listed, order) {
					t.Fatalf("the list is %v, want %v", listed, order)
				}
			},
		})
	})
}

// A user who changes all the time must not keep the memory of all who came with
// them: chunks are used again, and what is sparse is moved together.
func TestKeysTakeLittleMoreThanWhatIsLeftOfThem(t *testing.T) {
	t.Parallel()
	s, c := newStore(), &cohort{}
	s.join(c)
	var kept []ref
	var passing []ref
	want := make(map[ref]string)
	for i := range 400_000 {
		key := fmt.Appendf(nil, "\x00user-%018d", i)
		r := s.add(c, key, s.hash(key))
		if i%100 == 0 {
			kept = append(kept, r)
			want[r] = string(key)
			continue
		}
		if passing = append(passing, r); len(passing) > 10_000 {
			s.remove(passing[0])
			passing = passing[1:]
		}
	}
	if held := int64(len(s.keys.chunks)) * arenaChunk; held > 3*s.keys.used+20*arenaChunk {
		t.Errorf("%d bytes are held for %d bytes of keys", held, s.keys.used)
	}
	for _, r := range kept {
		if got := string(s.key(s.at(r))); got != want[r] {
			t.Fatalf("a key has become %q, want %q", got, want[r])
		}
	}
}

// A chunk may be empty for a moment while it is being filled.
func TestAChunkThatIsBeingFilledIsNotTakenForASpareOne(t *testing.T) {
	t.Parallel()
	s, c := newStore(), &cohort{}
	s.join(c)
	add := func(n int) ref {
		key := fmt.Appendf(nil, "\x00%0980d", n)
		return s.add(c, key, s.hash(key))
	}
	s.remove(add(0))
	var all []ref
	for n := range 3 * arenaChunk / 980 {
		all = append(all, add(n))
	}
	for n, r := range all {
		if got, want := string(s.key(s.at(r))), fmt.Sprintf("\x00%0980d", n); got != want {
			t.Fatalf("key %d has become %q", n, got)
		}
	}
}

// Moving keys costs time: a few holes are not worth it.
func TestAFewChunksAreNotMovedTogether(t *testing.T) {
	t.Parallel()
	var a arena
	key := make([]byte, 900)
	place := a.put(key)
	if a.free(place, uint16(len(key))); a.sparse() {
		t.Error("a single chunk is worth moving")
	}
}

func TestABatchTakesItsKeysWithIt(t *testing.T) {
	t.Parallel()
	s, c := newStore(), &cohort{}
	s.join(c)
	keys := map[string]bool{"\x00a": true, "\x01bb": true, "\x00ccc": true}
	for key := range maps.Keys(keys) {
		r := s.add(c, []byte(key), s.hash([]byte(key)))
		s.at(r).waiting = true
		s.pushBack(&c.queue, r)
	}
	var f flight
	c.take(2, &f)
	s.compact()
	for i, it := range f.items {
		if key := string(s.key(s.at(it.entry))); key != f.key(i) || !keys[key] {
			t.Errorf("item %d is %q and took %q", i, key, f.key(i))
		}
	}
	if len(f.items) != 2 || c.queue.length != 1 {
		t.Errorf("%d taken, %d left", len(f.items), c.queue.length)
	}
}

// inOrder holds an index to the order that its searches go by: whoever stands
// away from home stands behind one that is no nearer to its own home.
func inOrder(t *rapid.T, x *index) {
	for i, s := range x.slots {
		far := uint32(0)
		if s != 0 {
			far = x.distance(s, uint32(i))
		}
		if far == 0 {
			continue
		}
		before := uint32(i+len(x.slots)-1) & uint32(len(x.slots)-1)
		b := x.slots[before]
		if d := x.distance(b, before); b == 0 || d+1 < far || d+1 == far && b.hash() > s.hash() {
			t.Fatalf("the slot %x at %d stands behind %x, of %x", s, i, b, x.slots)
		}
	}
}
