package event

import "time"

// maxAhead is how far a producer's clock may run ahead of Kafka's, and oldest
// the beginning of the year 2000: Amplitude is younger. In microseconds.
const (
	maxAhead = int64(5 * time.Minute / time.Microsecond)
	oldest   = 946_684_800_000_000
	// latest is the beginning of the year 2100: a time that nobody means,
	// whatever the Kafka timestamp says.
	latest = 4_102_444_800_000_000
)

// resolveTime returns the time that the event is ordered by. text is the
// computed_time, a number or the text of a string; stamp is the record's Kafka
// timestamp in microseconds. A record from before Kafka had timestamps, or
// whose producer wrote none, has one of 0 or less: nothing before the year 2100
// is ahead of that.
func resolveTime(text []byte, stamp int64) (micros int64, issue TimeIssue) {
	micros, ok := decimalMicros(text)
	if !ok {
		var t time.Time
		if t.UnmarshalText(text) != nil {
			return stamp, TimeUnreadable
		}
		micros = t.UnixMicro()
	}
	switch {
	case micros < oldest:
		return stamp, TimeAncient
	case stamp > 0 && micros > stamp+maxAhead, micros >= latest:
		return stamp, TimeAhead
	default:
		return micros, TimeOK
	}
}

// decimalMicros reads a number by the grammar of JSON as microseconds since
// the epoch. Below 1e11 it counts seconds, below 1e14 milliseconds, else
// microseconds. Digits finer than a microsecond are cut, without a float on
// the way. What an int64 cannot hold comes out as its greatest value, what is
// negative as -1.
func decimalMicros(text []byte) (micros int64, ok bool) {
	n, ok := parseDecimal(text)
	if !ok {
		return 0, false
	}
	places := n.point
	switch {
	case n.first < 0:
		return 0, true
	case n.negative:
		return -1, true
	case n.point <= 11:
		places += 6
	case n.point <= 14:
		places += 3
	}
	if places > 18 {
		return 1<<63 - 1, true
	}
	for _, c := range text[n.first:n.end] {
		if c == '.' {
			continue
		}
		if places <= 0 {
			return micros, true
		}
		micros = micros*10 + int64(c-'0')
		places--
	}
	for ; places > 0; places-- {
		micros *= 10
	}
	return micros, true
}

// decimal is a number of the text that it was read from: 0.d₁d₂d₃… × 10^point,
// d₁ being the first digit that is not zero.
type decimal struct {
	negative bool
	// first is the index of d₁, or negative when all digits are zero; end is
	// where the digits end.
	first, end int
	point      int
}

// maxExponent is where exponents are cut off: beyond it, no number of digits
// that fits into a record makes a difference.
const maxExponent = 1 << 40

func parseDecimal(text []byte) (n decimal, ok bool) {
	n.first = -1
	i := 0
	if len(text) > 0 && text[0] == '-' {
		n.negative = true
		i++
	}
	whole := i
	i = digits(text, i)
	if i == whole || text[whole] == '0' && i > whole+1 {
		return n, false
	}
	if text[whole] != '0' {
		n.first, n.point = whole, i-whole
	}
	if i < len(text) && text[i] == '.' {
		i++
		fraction := i
		if i = digits(text, i); n.first < 0 {
			for z := fraction; z < i; z++ {
				if text[z] != '0' {
					n.first, n.point = z, fraction-z
					break
				}
			}
		}
		if i == fraction {
			return n, false
		}
	}
	n.end = i
	if i == len(text) {
		return n, true
	}
	exponent, ok := parseExponent(text[i:])
	n.point += exponent
	return n, ok
}

// digits returns the index after the digits that begin at i.
func digits(text []byte, i int) int {
	for i < len(text) && text[i]-'0' <= 9 {
		i++
	}
	return i
}

// parseExponent reads all of text as the exponent of a number.
func parseExponent(text []byte) (exponent int, ok bool) {
	if text[0]|0x20 != 'e' {
		return 0, false
	}
	text = text[1:]
	negative := len(text) > 0 && text[0] == '-'
	if negative || len(text) > 0 && text[0] == '+' {
		text = text[1:]
	}
	if len(text) == 0 {
		return 0, false
	}
	for _, c := range text {
		if c-'0' > 9 {
			return 0, false
		}
		exponent = min(exponent*10+int(c-'0'), maxExponent)
	}
	if negative {
		exponent = -exponent
	}
	return exponent, true
}
