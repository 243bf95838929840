// Package mapping turns the properties of an event's users into the
// identifiers that Braze knows them by.
package mapping

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"cohortsync/internal/catalog"
	"cohortsync/internal/event"
)

// MaxBytes is how long an identifier may be. Braze gives this limit for
// external ids (EXTERNAL_USER_ID_TOO_LARGE, "must be fewer than 988 bytes",
// https://www.braze.com/docs/api/endpoints/user_data/post_user_track). It gives
// none for device ids and alias names, to which the same one is applied: a
// request then stays below its 4 MB, and a limit of Braze's own that is lower
// shows as a dead letter rather than as a silent skip.
const MaxBytes = 987

// maxLabel is how long an alias label may be, in bytes: what Braze allows for
// names of its own, such as those of attributes.
const maxLabel = 255

// Key is one identifier of a user, or the reason why there is none.
type Key struct {
	// Bytes is the identifier, packed: a byte for its kind and label, then its
	// value. Equal keys of one Mapper are the same identifier. It is nil when
	// Skip says why.
	Bytes []byte
	Skip  Skip
}

// Mapper maps users by the rules of one target. Map is for one goroutine at a
// time; the other methods may be called from any, while Map runs too.
type Mapper struct {
	rules []rule
	// forms are the kinds and labels that the rules lead to; a key's first
	// byte is an index into it.
	forms []form
	paths []event.Path
	first bool
	// buf holds the keys of the last user.
	buf []byte
	// seen tells the keys of a user with very many of them apart.
	seen map[string]struct{}
}

type rule struct {
	path int
	form byte
}

type form struct {
	kind  catalog.Kind
	label string
}

// New compiles the rules of a target. The error names the rule by its number.
func New(rules []catalog.Rule, send catalog.Send) (*Mapper, error) {
	if len(rules) == 0 {
		return nil, errors.New("compiling the identifiers: there is no rule")
	}
	if send != catalog.SendAll && send != catalog.SendFirst {
		return nil, fmt.Errorf("compiling the identifiers: send is %q, not %q or %q", send, catalog.SendAll, catalog.SendFirst)
	}
	m := &Mapper{first: send == catalog.SendFirst, seen: make(map[string]struct{})}
	for i, r := range rules {
		if err := m.add(r); err != nil {
			return nil, fmt.Errorf("compiling identifier %d: %w", i+1, err)
		}
	}
	return m, nil
}

func (m *Mapper) add(r catalog.Rule) error {
	path, err := event.ParsePath(r.From)
	if err != nil {
		return err
	}
	if err := checkLabel(r); err != nil {
		return err
	}
	f := form{kind: r.To, label: r.Label}
	of := slices.Index(m.forms, f)
	if of < 0 {
		if len(m.forms) > 255 {
			return errors.New("more than 256 kinds and labels")
		}
		of = len(m.forms)
		m.forms = append(m.forms, f)
	}
	from := slices.IndexFunc(m.paths, func(p event.Path) bool { return slices.Equal(p, path) })
	if from < 0 {
		from = len(m.paths)
		m.paths = append(m.paths, path)
	}
	m.rules = append(m.rules, rule{path: from, form: byte(of)})
	return nil
}

func checkLabel(r catalog.Rule) error {
	switch r.To {
	case catalog.ExternalID, catalog.DeviceID:
		if r.Label != "" {
			return fmt.Errorf("a label belongs to a %s, not to a %s", catalog.UserAlias, r.To)
		}
		return nil
	case catalog.UserAlias:
	default:
		return fmt.Errorf("%d is no kind of identifier", r.To)
	}
	switch {
	case strings.TrimSpace(r.Label) == "":
		return fmt.Errorf("a %s needs a label", catalog.UserAlias)
	case len(r.Label) > maxLabel:
		return fmt.Errorf("the label is longer than %d bytes", maxLabel)
	case !utf8.ValidString(r.Label), strings.ContainsFunc(r.Label, unicode.IsControl):
		return errors.New("the label has control characters or is not UTF-8")
	}
	return nil
}

// Paths returns what to look for in an event: the paths for event.NewDecoder,
// in the order that Map counts on.
func (m *Mapper) Paths() []event.Path { return m.paths }

// Identifier unpacks a key that Map of this mapper has made.
func (m *Mapper) Identifier(key string) catalog.Identifier {
	f := m.forms[key[0]]
	return catalog.Identifier{Kind: f.kind, Label: f.label, Value: key[1:]}
}

// Map appends the user's identifiers to keys, each once and in the order of
// the rules, and a Key with a Skip for each value that can be none. A user
// without any value gets the single Key of SkipNoIdentifier, so there is always
// one at least. The keys' bytes are valid until the next call; one that finds
// room in keys allocates nothing, whatever it skips.
//
// With send: first, the rules end at the first that yields an identifier;
// values of the rules after it are not looked at.
func (m *Mapper) Map(u *event.User, keys []Key) []Key {
	start := len(keys)
	m.buf = m.buf[:0]
	many := false
	for _, r := range m.rules {
		usable := false
		for i := range u.Values {
			v := &u.Values[i]
			if v.Path != r.path {
				continue
			}
			if skip := check(v); skip != SkipNone {
				keys = append(keys, Key{Skip: skip})
				continue
			}
			usable = true
			from := len(m.buf)
			m.buf = append(append(m.buf, r.form), v.Bytes...)
			key := m.buf[from:len(m.buf):len(m.buf)]
			if !many && len(keys)-start >= fewKeys {
				many = true
				m.remember(keys[start:])
			}
			if m.known(key, keys[start:], many) {
				m.buf = m.buf[:from]
				continue
			}
			keys = append(keys, Key{Bytes: key})
		}
		if usable && m.first {
			break
		}
	}
	if len(keys) == start {
		keys = append(keys, Key{Skip: SkipNoIdentifier})
	}
	return keys
}

// fewKeys is up to how many keys are compared one by one.
const fewKeys = 16

// remember fills seen, which a user with many identifiers needs: comparing
// each with each would let one record hold up the log.
func (m *Mapper) remember(keys []Key) {
	clear(m.seen)
	for _, k := range keys {
		if k.Skip == SkipNone {
			m.seen[string(k.Bytes)] = struct{}{}
		}
	}
}

// known says that the user's keys have this one already.
func (m *Mapper) known(key []byte, keys []Key, many bool) bool {
	if !many {
		return slices.ContainsFunc(keys, func(k Key) bool { return bytes.Equal(k.Bytes, key) })
	}
	if _, ok := m.seen[string(key)]; ok {
		return true
	}
	m.seen[string(key)] = struct{}{}
	return false
}
