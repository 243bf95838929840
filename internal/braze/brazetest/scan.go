package brazetest

import (
	"strings"
	"unicode/utf8"

	"cohortsync/internal/catalog"
)

// scanner reads JSON as clients write it who care for speed: the documented
// keys only, each once and in the documented order, and strings without
// escapes. It gives up on anything else, which encoding/json then decodes: it
// may know less than encoding/json, but never say something else.
type scanner struct {
	text string
	at   int
	// inside says that the next key of an object has one before it.
	inside bool
}

// newScanner returns false for text that encoding/json would mend.
func newScanner(body []byte) (*scanner, bool) {
	text := string(body)
	return &scanner{text: text}, utf8.ValidString(text)
}

func (s *scanner) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

// take reads one character, if it is the next.
func (s *scanner) take(c byte) bool {
	s.space()
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		return true
	}
	return false
}

// word reads a literal such as true, if it is the next.
func (s *scanner) word(w string) bool {
	s.space()
	if strings.HasPrefix(s.text[s.at:], w) {
		s.at += len(w)
		return true
	}
	return false
}

// str reads a string without escapes. It shares the memory of the text.
func (s *scanner) str() (string, bool) {
	if !s.take('"') {
		return "", false
	}
	for i := s.at; i < len(s.text); i++ {
		switch c := s.text[i]; {
		case c == '"':
			text := s.text[s.at:i]
			s.at = i + 1
			return text, true
		case c == '\\' || c < ' ':
			return "", false
		}
	}
	return "", false
}

func (s *scanner) open() bool {
	s.inside = false
	return s.take('{')
}

func (s *scanner) shut() bool {
	s.inside = true
	return s.take('}')
}

// key reads a key and the colon after it, if it is the next.
func (s *scanner) key(name string) bool {
	before := s.at
	if !s.inside || s.take(',') {
		if text, ok := s.str(); ok && text == name && s.take(':') {
			s.inside = true
			return true
		}
	}
	s.at = before
	return false
}

// end says that there is nothing more.
func (s *scanner) end() bool {
	s.space()
	return s.at == len(s.text)
}

// list reads an array, calling item for each element.
func (s *scanner) list(item func() bool) bool {
	if !s.take('[') {
		return false
	}
	if s.take(']') {
		return true
	}
	for {
		if !item() {
			return false
		}
		if s.take(']') {
			return true
		}
		if !s.take(',') {
			return false
		}
	}
}

// alias reads {"alias_name":"n","alias_label":"l"}.
func (s *scanner) alias() (id catalog.Identifier, ok bool) {
	id.Kind = catalog.UserAlias
	if ok = s.open() && s.key("alias_name"); ok {
		id.Value, ok = s.str()
	}
	if ok = ok && s.key("alias_label"); ok {
		id.Label, ok = s.str()
	}
	return id, ok && s.shut()
}
