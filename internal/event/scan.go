package event

import (
	"encoding/binary"
	"math/bits"
)

// maxDepth is how deep arrays and objects may nest, as in encoding/json.
const maxDepth = 10_000

// scanner walks over a JSON text. Its methods take the index of what they read
// and return the index after it, or a negative one once failure is set.
type scanner struct {
	data []byte
	// stack has a bit for each open array or object, set for an object.
	stack   [maxDepth/64 + 1]uint64
	failure DecodeError
	book    keyBook
}

// token is a string as it stands in data, without its quotes.
type token struct {
	start, end int
	// escaped: it holds a backslash. wide: it holds a byte past ASCII.
	escaped, wide bool
}

func (s *scanner) fail(at int, reason Reason, expected string) int {
	s.failure = DecodeError{Reason: reason, Offset: at, Expected: expected}
	return -1
}

// at returns the byte at i, or 0, which no JSON text holds, at the end.
func (s *scanner) at(i int) byte {
	if i < len(s.data) {
		return s.data[i]
	}
	return 0
}

// space passes over white space.
func (s *scanner) space(i int) int {
	for i < len(s.data) && s.data[i] <= ' ' && (s.data[i] == ' ' || s.data[i] == '\n' || s.data[i] == '\t' || s.data[i] == '\r') {
		i++
	}
	return i
}

// skip passes over any value. depth is how many arrays and objects are open
// around it. It does not recurse: hostile nesting must not grow the stack.
func (s *scanner) skip(i, depth int) int {
	base := depth
	for i >= 0 {
		switch s.at(i) {
		case '{', '[':
			if depth == maxDepth {
				return s.fail(i, TooDeep, "at most 10,000 levels of nesting")
			}
			object, end := s.data[i] == '{', s.data[i]+2
			if i = s.space(i + 1); s.at(i) == end {
				i++
				break
			}
			s.mark(depth, object)
			depth++
			if object {
				_, i = s.key(i)
			}
			continue
		default:
			i = s.scalar(i)
		}
		if i, depth = s.closing(i, depth, base); depth == base {
			return i
		}
	}
	return i
}

// closing goes on after a value: to the next value, or over the ends of all
// that ends there, down to depth base.
func (s *scanner) closing(i, depth, base int) (next, left int) {
	for i >= 0 && depth > base {
		object := s.object(depth - 1)
		var more bool
		if i, more = s.next(i, object); !more {
			depth--
			continue
		}
		if object {
			_, i = s.key(i)
		}
		return i, depth
	}
	return i, depth
}

func (s *scanner) mark(depth int, object bool) {
	bit := uint64(1) << (depth % 64)
	if object {
		s.stack[depth/64] |= bit
	} else {
		s.stack[depth/64] &^= bit
	}
}

func (s *scanner) object(depth int) bool { return s.stack[depth/64]>>(depth%64)&1 == 1 }

// next reads what follows an element of an array or a member of an object:
// a comma, and then more is true, or its end.
func (s *scanner) next(i int, object bool) (after int, more bool) {
	i = s.space(i)
	switch c := s.at(i); {
	case c == ',':
		return s.space(i + 1), true
	case object && c == '}', !object && c == ']':
		return i + 1, false
	case object:
		return s.fail(i, NotJSON, "a comma or a closing brace"), false
	default:
		return s.fail(i, NotJSON, "a comma or a closing bracket"), false
	}
}

// key reads a member's key and its colon.
func (s *scanner) key(i int) (key token, value int) {
	if i < len(s.data) {
		if n := s.book.expected(s.data[i:]); n > 0 {
			return token{start: i + 1, end: i + n - 2}, s.space(i + n)
		}
	}
	if s.at(i) != '"' {
		return key, s.fail(i, NotJSON, "a key in double quotes")
	}
	key, i = s.text(i + 1)
	if i < 0 {
		return key, i
	}
	if s.at(i) == ':' && !key.escaped && !key.wide {
		s.book.learn(s.data[key.start-1 : i+1])
	}
	if i = s.space(i); s.at(i) != ':' {
		return key, s.fail(i, NotJSON, "a colon")
	}
	return key, s.space(i + 1)
}

// scalar passes over a string, a number or a literal.
func (s *scanner) scalar(i int) int {
	switch s.at(i) {
	case '"':
		_, i = s.text(i + 1)
		return i
	case 't':
		return s.literal(i, "true")
	case 'f':
		return s.literal(i, "false")
	case 'n':
		return s.literal(i, "null")
	default:
		i, _ = s.number(i)
		return i
	}
}

func (s *scanner) literal(i int, word string) int {
	if end := i + len(word); end <= len(s.data) && string(s.data[i:end]) == word {
		return end
	}
	return s.fail(i, NotJSON, "a JSON value")
}

// number passes over a number; whole says that it has neither fraction nor
// exponent.
func (s *scanner) number(i int) (end int, whole bool) {
	start := i
	if s.at(i) == '-' {
		i++
	}
	switch c := s.at(i); {
	case c == '0':
		i++
	case c >= '1' && c <= '9':
		i = digits(s.data, i)
	case i == start:
		return s.fail(i, NotJSON, "a JSON value"), false
	default:
		return s.fail(i, NotJSON, "a digit"), false
	}
	whole = true
	if s.at(i) == '.' {
		whole = false
		if i = digits(s.data, i+1); s.data[i-1] == '.' {
			return s.fail(i, NotJSON, "a digit"), false
		}
	}
	if c := s.at(i); c == 'e' || c == 'E' {
		whole = false
		i++
		if c := s.at(i); c == '+' || c == '-' {
			i++
		}
		first := i
		if i = digits(s.data, i); i == first {
			return s.fail(i, NotJSON, "a digit"), false
		}
	}
	return i, whole
}

// text reads a string whose first byte after the quote is at i.
func (s *scanner) text(i int) (t token, after int) {
	t.start = i
	for {
		var wide bool
		i, wide = s.special(i)
		t.wide = t.wide || wide
		switch s.at(i) {
		case '"':
			t.end = i
			return t, i + 1
		case '\\':
			t.escaped = true
			if i = s.escape(i); i < 0 {
				return t, i
			}
		default:
			return t, s.fail(i, NotJSON, "no control character within a string, and its closing quote")
		}
	}
}

const (
	lows  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special returns the index of the next quote, backslash or control character,
// or that of the end, and whether it passed bytes beyond ASCII. It looks at
// eight bytes at a time. In each term, a byte's high bit is set where the byte
// is zero (or below the space); a borrow can set it wrongly only above a byte
// that is truly so, and the lowest is the one that counts.
func (s *scanner) special(i int) (at int, wide bool) {
	data := s.data
	var high uint64
	for ; i+8 <= len(data); i += 8 {
		w := binary.LittleEndian.Uint64(data[i:])
		quote, slash := w^lows*'"', w^lows*'\\'
		if found := ((quote-lows)&^quote | (slash-lows)&^slash | (w-lows*' ')&^w) & highs; found != 0 {
			high |= w & (found&-found - 1)
			return i + bits.TrailingZeros64(found)/8, high&highs != 0
		}
		high |= w
	}
	for ; i < len(data); i++ {
		c := data[i]
		if c == '"' || c == '\\' || c < ' ' {
			break
		}
		high |= uint64(c)
	}
	return i, high&highs != 0
}

// escape passes over the escape whose backslash is at i.
func (s *scanner) escape(i int) int {
	switch s.at(i + 1) {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2
	case 'u':
		for n := i + 2; n < i+6; n++ {
			if !isHex(s.at(n)) {
				return s.fail(n, NotJSON, "a hexadecimal digit")
			}
		}
		return i + 6
	default:
		return s.fail(i+1, NotJSON, "one of the escapes of JSON")
	}
}

func isHex(c byte) bool {
	return c-'0' <= 9 || (c|0x20)-'a' <= 5
}
