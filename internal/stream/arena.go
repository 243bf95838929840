package stream

// arenaChunk is the size of a chunk of keys, in bytes. A key, which has at most
// 988 bytes, is within one.
const arenaChunk = 64 << 10

// arena keeps keys one behind the other in chunks, so that a million of them
// are no work for the garbage collector. Where a key is freed there is a hole,
// until its whole chunk is free or compact moves what is left of it.
type arena struct {
	chunks [][]byte
	// live is how many bytes of each chunk are in use, and used their sum.
	live []int32
	used int64
	// spare are the chunks that are free; current is the one being filled, up to
	// fill.
	spare   []uint32
	current uint32
	fill    int
}

// put copies a key and returns its place.
func (a *arena) put(key []byte) (place uint32) {
	if len(a.chunks) == 0 || a.fill+len(key) > arenaChunk {
		a.turn()
	}
	place = a.current*arenaChunk + uint32(a.fill)
	a.fill += copy(a.chunks[a.current][a.fill:], key)
	a.live[a.current] += int32(len(key))
	a.used += int64(len(key))
	return place
}

// turn begins the next chunk.
func (a *arena) turn() {
	if len(a.chunks) > 0 && a.live[a.current] == 0 {
		a.fill = 0 // All that was in it has left already.
		return
	}
	a.fill = 0
	if n := len(a.spare); n > 0 {
		a.current, a.spare = a.spare[n-1], a.spare[:n-1]
		return
	}
	a.current = uint32(len(a.chunks))
	a.chunks = append(a.chunks, make([]byte, arenaChunk))
	a.live = append(a.live, 0)
}

// at returns the key at a place. It is valid until compact.
func (a *arena) at(place uint32, length uint16) []byte {
	from := place % arenaChunk
	return a.chunks[place/arenaChunk][from : from+uint32(length) : from+uint32(length)]
}

func (a *arena) free(place uint32, length uint16) {
	chunk := place / arenaChunk
	a.live[chunk] -= int32(length)
	a.used -= int64(length)
	if a.live[chunk] == 0 && chunk != a.current {
		a.spare = append(a.spare, chunk)
	}
}

// sparse says that more than half of what the chunks in use hold are holes, and
// that this is worth the work of moving the rest.
func (a *arena) sparse() bool {
	const worth = 16
	inUse := len(a.chunks) - len(a.spare)
	return inUse > worth && a.used < int64(inUse)*arenaChunk/2
}
