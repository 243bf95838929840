package event

// How many keys are known by heart, and up to which length in bytes.
const (
	keptKeys = 32
	keptText = 64
)

// keyBook knows keys by heart, and which one followed which: a producer writes
// the same ones in the same order, again and again. Comparing with the one that
// is expected takes half as long as reading it.
type keyBook struct {
	keys []knownKey
	// last is the key read last; the first one stands for the beginning.
	last int
}

// knownKey is a key as it stands in records: with its quotes, its colon and
// nothing between them, in plain ASCII without escapes.
type knownKey struct {
	text string
	// next is the key that followed, or 0.
	next int
}

// expected returns the length of the key at the beginning of data, when it is
// the one that followed the last one before, or 0.
func (b *keyBook) expected(data []byte) int {
	if len(b.keys) == 0 {
		return 0
	}
	next := b.keys[b.last].next
	text := b.keys[next].text
	if len(text) == 0 || len(text) > len(data) || string(data[:len(text)]) != text {
		return 0
	}
	b.last = next
	return len(text)
}

// learn notes the key that was read, with all of its text up to its colon.
func (b *keyBook) learn(text []byte) {
	if len(text) > keptText {
		return
	}
	if len(b.keys) == 0 {
		b.keys = make([]knownKey, 1, keptKeys)
	}
	for i := range b.keys {
		if b.keys[i].text == string(text) {
			b.keys[b.last].next, b.last = i, i
			return
		}
	}
	if len(b.keys) == keptKeys {
		return
	}
	b.keys = append(b.keys, knownKey{text: string(text)})
	b.keys[b.last].next, b.last = len(b.keys)-1, len(b.keys)-1
}
