package brazetest

import (
	"strings"
	"time"

	"cohortsync/internal/catalog"
)

// cohort is what the server holds about one cohort, or one attribute.
type cohort struct {
	name  string
	named bool
	// attribute says that the attributes API wrote it, and known that anything
	// was ever accepted for it.
	attribute, known bool
	users            map[catalog.Identifier]*user
	// members is how many of the users are.
	members int
	// busy is the request in flight.
	busy *exchange
}

// user is one identifier in one cohort. It is kept while a request or an
// operation that is due later holds it, and for good once anything was accepted
// for it.
type user struct {
	member, accepted, noted bool
	// applied are the operations, in a ring once there are as many as are kept;
	// oldest is where it begins.
	applied []step
	oldest  int
	// holds counts the requests in flight and the operations due later.
	holds int
	// seen is the last request with this user.
	seen int
	// busy is the request of the attributes API in flight.
	busy *exchange
}

// step is an operation in as little memory as it takes: there may be millions.
type step struct {
	at     int64 // Nanoseconds of Unix time.
	packed int64 // The request's number, and in the last bit whether it removes.
}

func (s step) removes() bool { return s.packed&1 == 1 }

// look reads what applying an operation will need.
func (u *user) look() int {
	if len(u.applied) == 0 {
		return u.holds
	}
	return u.holds + int(u.applied[0].at)
}

func (u *user) operations() []Operation {
	all := make([]Operation, len(u.applied))
	for i := range u.applied {
		s := u.applied[(u.oldest+i)%len(u.applied)]
		all[i] = Operation{Seq: int(s.packed >> 1), At: time.Unix(0, s.at), Remove: s.removes()}
	}
	return all
}

func (s *Server) cohort(id string) *cohort {
	c := s.cohorts[id]
	if c == nil {
		c = &cohort{users: make(map[catalog.Identifier]*user)}
		s.cohorts[strings.Clone(id)] = c
	}
	return c
}

// forget drops a cohort of which nothing is known.
func (s *Server) forget(id string) {
	if c := s.cohorts[id]; c != nil && !c.known && c.busy == nil && len(c.users) == 0 {
		delete(s.cohorts, id)
	}
}

// hold returns the user of an identifier and keeps it until release.
func (c *cohort) hold(id catalog.Identifier) *user {
	u := c.users[id]
	if u == nil {
		u = &user{}
		c.users[cloned(id)] = u
	}
	u.holds++
	return u
}

// release forgets a user of whom nothing is known.
func (c *cohort) release(id catalog.Identifier, u *user) {
	u.holds--
	if u.holds == 0 && !u.noted {
		delete(c.users, id)
	}
}

// cloned returns an identifier that shares no memory with the body in which it
// came, so that to remember the one is not to keep the other.
func cloned(id catalog.Identifier) catalog.Identifier {
	return catalog.Identifier{Kind: id.Kind, Label: strings.Clone(id.Label), Value: strings.Clone(id.Value)}
}

// place is where an operation belongs.
type place struct {
	cohort *cohort
	user   *user
}

// note keeps a user from now on.
func (s *Server) note(u *user, id catalog.Identifier) {
	if u.noted {
		return
	}
	u.noted = true
	if id.Kind == catalog.UserAlias && !s.labels[id.Label] {
		s.labels[strings.Clone(id.Label)] = true
	}
}
