package event

import (
	"unicode/utf16"
	"unicode/utf8"
)

// unescape appends the text of a string whose escapes the scanner has checked.
// As encoding/json does, it writes U+FFFD for each byte of invalid UTF-8 and
// for half a surrogate pair; then invalid is true.
func unescape(dst, raw []byte) (text []byte, invalid bool) {
	for i := 0; i < len(raw); {
		c := raw[i]
		switch {
		case c == '\\' && raw[i+1] == 'u':
			r, size := unit(raw[i:]), 6
			if utf16.IsSurrogate(r) {
				// unit is negative where no second half follows.
				r = utf16.DecodeRune(r, unit(raw[i+6:]))
				if r == utf8.RuneError {
					invalid = true
				} else {
					size = 12
				}
			}
			dst = utf8.AppendRune(dst, r)
			i += size
		case c == '\\':
			dst = append(dst, escaped(raw[i+1]))
			i += 2
		case c < utf8.RuneSelf:
			dst = append(dst, c)
			i++
		default:
			r, size := utf8.DecodeRune(raw[i:])
			if r == utf8.RuneError && size == 1 {
				invalid = true
			}
			dst = utf8.AppendRune(dst, r)
			i += size
		}
	}
	return dst, invalid
}

// unit returns the UTF-16 unit of the \uXXXX escape that raw begins with, or a
// negative number when it begins with anything else.
func unit(raw []byte) rune {
	if len(raw) < 6 || raw[0] != '\\' || raw[1] != 'u' {
		return -1
	}
	var r rune
	for _, c := range raw[2:6] {
		d := c - '0'
		if d > 9 {
			d = (c | 0x20) - 'a' + 10
		}
		r = r<<4 | rune(d)
	}
	return r
}

func escaped(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	default:
		return c
	}
}
