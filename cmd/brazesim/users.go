package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"cohortsync/internal/catalog"
)

// users are those who exist. Safe for concurrent use.
type users struct {
	// everybody says that nobody is unknown.
	everybody bool
	prefixes  []string

	mu  sync.RWMutex
	set map[catalog.Identifier]bool
}

// identifier is a user as the admin API writes it.
type identifier struct {
	Kind  string `json:"kind"`
	Label string `json:"label"`
	Value string `json:"value"`
}

func identifierOf(id catalog.Identifier) identifier {
	return identifier{Kind: id.Kind.String(), Label: id.Label, Value: id.Value}
}

// entry is a user who is to exist: in JSON a string, which is an external_id,
// or an identifier.
type entry identifier

// UnmarshalJSON takes both forms.
func (e *entry) UnmarshalJSON(text []byte) error {
	*e = entry{Kind: catalog.ExternalID.String()}
	if len(text) > 0 && text[0] == '"' {
		return json.Unmarshal(text, &e.Value)
	}
	return json.Unmarshal(text, (*identifier)(e))
}

// catalog returns the identifier as the rest of the program knows it.
func (e entry) catalog() (catalog.Identifier, error) {
	id := catalog.Identifier{Label: e.Label, Value: e.Value}
	for _, kind := range []catalog.Kind{catalog.ExternalID, catalog.DeviceID, catalog.UserAlias} {
		if kind.String() == e.Kind {
			id.Kind = kind
		}
	}
	switch {
	case id.Kind == 0:
		return id, fmt.Errorf("kind is %q, and must be external_id, device_id or user_alias", e.Kind)
	case id.Value == "":
		return id, errors.New("value is missing")
	case (id.Label != "") != (id.Kind == catalog.UserAlias):
		return id, errors.New("a user_alias has a label, and nothing else does")
	}
	return id, nil
}

// newUsers returns everybody, or those of a file and those whose value begins
// with a prefix.
func newUsers(file string, prefixes []string) (*users, error) {
	u := &users{everybody: file == "" && len(prefixes) == 0, prefixes: prefixes, set: make(map[catalog.Identifier]bool)}
	if file == "" {
		return u, nil
	}
	f, err := os.Open(filepath.Clean(file))
	if err != nil {
		return nil, fmt.Errorf("reading the users: %w", err)
	}
	defer f.Close()
	if err := u.read(f); err != nil {
		return nil, fmt.Errorf("reading the users: %s: %w", file, err)
	}
	return u, nil
}

// read adds users, one a line.
func (u *users) read(from io.Reader) error {
	lines := bufio.NewScanner(from)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			continue
		}
		user := entry{Kind: catalog.ExternalID.String(), Value: line}
		if line[0] == '{' {
			if err := json.Unmarshal([]byte(line), &user); err != nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
		}
		id, err := user.catalog()
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		u.set[id] = true
	}
	return lines.Err()
}

// add makes users exist, all or none, and returns how many there are by name.
func (u *users) add(some []entry) (int, error) {
	ids := make([]catalog.Identifier, len(some))
	for i, user := range some {
		id, err := user.catalog()
		if err != nil {
			return 0, fmt.Errorf("user %d: %w", i, err)
		}
		ids[i] = id
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, id := range ids {
		u.set[id] = true
	}
	return len(u.set), nil
}

// known returns the test for who exists; nil when everybody does.
func (u *users) known() func(catalog.Identifier) bool {
	if u.everybody {
		return nil
	}
	return func(id catalog.Identifier) bool {
		for _, p := range u.prefixes {
			if strings.HasPrefix(id.Value, p) {
				return true
			}
		}
		u.mu.RLock()
		defer u.mu.RUnlock()
		return u.set[id]
	}
}

// beginsWith returns the test for a prefix; nil for none.
func beginsWith(prefix string) func(catalog.Identifier) bool {
	if prefix == "" {
		return nil
	}
	return func(id catalog.Identifier) bool { return strings.HasPrefix(id.Value, prefix) }
}
