package brazetest

import (
	"cmp"
	"slices"
	"strings"

	"cohortsync/internal/catalog"
)

// Cohort is what there is to know about a cohort at one moment.
type Cohort struct {
	// ID is the cohort's id, or the attribute's name.
	ID string
	// Name is empty for attributes, and where nobody has named the cohort.
	Name string
	// Attribute says that the attributes API wrote it.
	Attribute bool
	Members   int
}

// Standing is how one identifier stands with one cohort.
type Standing struct {
	Cohort     string
	Identifier catalog.Identifier
	Member     bool
	// Accepted is Member as it will be when all that was accepted is applied
	// in the order of its acceptance.
	Accepted bool
	// Operations are the last that were applied, the newest at the end.
	Operations []Operation
}

// Cohorts returns all cohorts and attributes to which anything was applied,
// sorted by id.
func (s *Server) Cohorts() []Cohort {
	s.lock()
	defer s.mu.Unlock()
	all := make([]Cohort, 0, len(s.cohorts))
	for id, c := range s.cohorts {
		if c.known {
			all = append(all, Cohort{ID: id, Name: c.name, Attribute: c.attribute, Members: c.members})
		}
	}
	slices.SortFunc(all, func(a, b Cohort) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// Name returns a cohort's name; empty when it has none.
func (s *Server) Name(id string) string {
	s.lock()
	defer s.mu.Unlock()
	if c := s.cohorts[id]; c != nil {
		return c.name
	}
	return ""
}

// Count returns how many are in a cohort.
func (s *Server) Count(id string) int {
	s.lock()
	defer s.mu.Unlock()
	if c := s.cohorts[id]; c != nil {
		return c.members
	}
	return 0
}

// List returns who is in a cohort, sorted by value.
func (s *Server) List(id string) []catalog.Identifier {
	members := s.who(id, func(u *user) bool { return u.member })
	slices.SortFunc(members, compare)
	return members
}

// Members returns who is in a cohort.
func (s *Server) Members(id string) map[catalog.Identifier]bool {
	return setOf(s.who(id, func(u *user) bool { return u.member }))
}

// Accepted returns who is in a cohort by what was accepted, in that order,
// whether or not it has been applied yet. It differs from Members for good
// only when the attributes API was told two things about one identifier
// within Options.ApplyWithin.
func (s *Server) Accepted(id string) map[catalog.Identifier]bool {
	return setOf(s.who(id, func(u *user) bool { return u.accepted }))
}

func (s *Server) who(id string, is func(*user) bool) []catalog.Identifier {
	s.lock()
	defer s.mu.Unlock()
	c := s.cohorts[id]
	if c == nil {
		return nil
	}
	all := make([]catalog.Identifier, 0, c.members)
	for identifier, u := range c.users {
		if is(u) {
			all = append(all, identifier)
		}
	}
	return all
}

func setOf(identifiers []catalog.Identifier) map[catalog.Identifier]bool {
	set := make(map[catalog.Identifier]bool, len(identifiers))
	for _, id := range identifiers {
		set[id] = true
	}
	return set
}

func compare(a, b catalog.Identifier) int {
	return cmp.Or(strings.Compare(a.Value, b.Value), cmp.Compare(a.Kind, b.Kind), strings.Compare(a.Label, b.Label))
}

// Operations returns what was applied to one identifier, in order: all of it,
// or as much as Options.OperationLimit keeps.
func (s *Server) Operations(cohortID string, id catalog.Identifier) []Operation {
	s.lock()
	defer s.mu.Unlock()
	if c := s.cohorts[cohortID]; c != nil && c.users[id] != nil {
		return c.users[id].operations()
	}
	return nil
}

// Find returns how all identifiers with a value stand with all cohorts that
// ever heard of them, sorted by cohort.
func (s *Server) Find(value string) []Standing {
	s.lock()
	defer s.mu.Unlock()
	var all []Standing
	for id, c := range s.cohorts {
		look := func(identifier catalog.Identifier) {
			if u := c.users[identifier]; u != nil && u.noted {
				all = append(all, Standing{
					Cohort: id, Identifier: identifier, Member: u.member, Accepted: u.accepted, Operations: u.operations(),
				})
			}
		}
		look(catalog.Identifier{Kind: catalog.ExternalID, Value: value})
		look(catalog.Identifier{Kind: catalog.DeviceID, Value: value})
		for label := range s.labels {
			look(catalog.Identifier{Kind: catalog.UserAlias, Value: value, Label: label})
		}
	}
	slices.SortFunc(all, func(a, b Standing) int {
		return cmp.Or(strings.Compare(a.Cohort, b.Cohort), compare(a.Identifier, b.Identifier))
	})
	return all
}
