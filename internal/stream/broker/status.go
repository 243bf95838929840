package broker

import (
	"sync"
	"time"
)

// State is where a membership stands.
type State uint8

// The states of a membership. WaitingForTopic is the topic missing on a broker
// that answers; NoBroker is no broker that answers.
const (
	Starting State = iota
	WaitingForTopic
	NoBroker
	Joining
	Joined
	Left
)

// String returns the state as people read it.
func (s State) String() string {
	switch s {
	case Starting:
		return "starting"
	case WaitingForTopic:
		return "waiting for topic"
	case NoBroker:
		return "no broker"
	case Joining:
		return "joining"
	case Joined:
		return "joined"
	case Left:
		return "left"
	default:
		return "unknown"
	}
}

// Status is the state of a membership, since when, and its last trouble.
type Status struct {
	State State
	// Since is when this state began.
	Since time.Time
	// LastError is the text of the last error of this outage, empty once the
	// group is joined.
	LastError string
}

// status is a Status that several goroutines share.
type status struct {
	mu  sync.Mutex
	now Status
}

func (s *status) get() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// enter changes the state; the time counts on while it stays the same.
func (s *status) enter(state State, trouble error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.State != state || s.now.Since.IsZero() {
		s.now.State, s.now.Since = state, time.Now()
	}
	switch {
	case trouble != nil:
		s.now.LastError = trouble.Error()
	case state == Joined:
		s.now.LastError = ""
	}
}
