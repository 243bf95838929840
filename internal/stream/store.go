package stream

import (
	"bytes"
	"hash/maphash"
)

// ref names an entry of a store; 0 names none.
type ref uint32

// storeChunk is how many entries are made at once.
const storeChunk = 1024

// store keeps the entries of a generation without any pointer in them: the
// garbage collector would otherwise follow millions, again and again. An entry
// stays where it is until it is removed, so a pointer to it is good for as long
// as the target's mutex is held.
type store struct {
	chunks []*[storeChunk]entry
	// free is the first of the entries that were removed, linked by next, and
	// unused the first that never was.
	free, unused ref
	keys         arena
	cohorts      []*cohort
	seed         maphash.Seed
}

func newStore() *store { return &store{unused: 1, seed: maphash.MakeSeed()} }

func (s *store) at(r ref) *entry { return &s.chunks[r/storeChunk][r%storeChunk] }

// key returns an entry's packed identifier. It is valid until an entry is
// removed.
func (s *store) key(e *entry) []byte { return s.keys.at(e.place, e.length) }

func (s *store) cohortOf(e *entry) *cohort { return s.cohorts[e.cohort] }

func (s *store) hash(key []byte) uint32 { return uint32(maphash.Bytes(s.seed, key)) }

// join gives a cohort its place among the store's.
func (s *store) join(c *cohort) {
	c.store, c.number = s, uint32(len(s.cohorts))
	s.cohorts = append(s.cohorts, c)
}

// find returns the cohort's entry with the key, or 0.
func (s *store) find(c *cohort, key []byte, hash uint32) ref {
	return c.index.find(hash, func(r ref) bool { return bytes.Equal(s.key(s.at(r)), key) })
}

// add makes an entry with a key that its cohort does not have.
func (s *store) add(c *cohort, key []byte, hash uint32) ref {
	r := s.free
	if r != 0 {
		s.free = s.at(r).next
	} else {
		r = s.unused
		s.unused++
		if int(r/storeChunk) == len(s.chunks) {
			s.chunks = append(s.chunks, new([storeChunk]entry))
		}
	}
	e := s.at(r)
	*e = entry{}
	e.cohort, e.place, e.length = c.number, s.keys.put(key), uint16(len(key))
	c.index.add(hash, r)
	return r
}

// remove forgets an entry that is in no list.
func (s *store) remove(r ref) {
	e := s.at(r)
	s.cohortOf(e).index.remove(s.hash(s.key(e)), r)
	s.keys.free(e.place, e.length)
	*e = entry{next: s.free}
	s.free = r
	if s.keys.sparse() {
		s.compact()
	}
}

// compact moves the keys together. It costs as much as was freed since the last
// time.
func (s *store) compact() {
	var moved arena
	for r := ref(1); r < s.unused; r++ {
		if e := s.at(r); e.length > 0 {
			e.place = moved.put(s.key(e))
		}
	}
	s.keys = moved
}

// list is a doubly linked list of entries: an entry is in one at most, and
// leaves it in constant time.
type list struct {
	front, back ref
	length      int
	// bytes is what the memory budget counts for them.
	bytes int64
}

func (s *store) pushBack(l *list, r ref) {
	e := s.at(r)
	e.prev, e.next = l.back, 0
	if l.back != 0 {
		s.at(l.back).next = r
	} else {
		l.front = r
	}
	l.back = r
	l.length++
	l.bytes += e.cost()
}

func (s *store) pushFront(l *list, r ref) {
	e := s.at(r)
	e.prev, e.next = 0, l.front
	if l.front != 0 {
		s.at(l.front).prev = r
	} else {
		l.back = r
	}
	l.front = r
	l.length++
	l.bytes += e.cost()
}

func (s *store) unlink(l *list, r ref) {
	e := s.at(r)
	if e.prev != 0 {
		s.at(e.prev).next = e.next
	} else {
		l.front = e.next
	}
	if e.next != 0 {
		s.at(e.next).prev = e.prev
	} else {
		l.back = e.prev
	}
	e.prev, e.next = 0, 0
	l.length--
	l.bytes -= e.cost()
}
