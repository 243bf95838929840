// Package chaoscheck judges what workers did in a chaos run, from the log in
// Kafka and from the simulated Braze's history alone. It knows the rules of
// docs/design.md and shares no code with the worker: what both would get wrong
// in the same way it would not find.
package chaoscheck

import "time"

// Identifier is what Braze knows a user by.
type Identifier struct{ Kind, Label, Value string }

// Rule makes an identifier of a property of an event: user_id, device_id or
// user_properties.NAME.
type Rule struct{ From, Kind, Label string }

// Target is a Braze destination as the workers are configured.
type Target struct {
	Name, Group string
	// Attributes says that it is written by the attributes API.
	Attributes bool
	Rules      []Rule
	// First says that only the first rule with a value counts.
	First bool
	// Cohorts are those that are synced; nil takes all.
	Cohorts []string
}

// Record is a record of the topic.
type Record struct {
	Partition int32
	Offset    int64
	// Written is when its producer made it: before it was in the log.
	Written time.Time
	Value   []byte
}

// Letter is a record of the dead-letter topic.
type Letter struct {
	Target, Stage string
	Partition     int32
	Offset        int64
	Written       time.Time
	Identifiers   []Identifier
	// Text is all of it, for the search for secrets.
	Text string
}

// Life is the time for which one member of a group owned one partition.
type Life struct {
	Generation int32
	Member     string
	Began      time.Time
	// Start is the offset that was committed when it began.
	Start int64
}

// Commit is an offset that the broker accepted.
type Commit struct {
	At     time.Time
	Offset int64
}

// Ownership is what the group's own log says of one partition, in order.
type Ownership struct {
	Lives   []Life
	Commits []Commit
}

// Place is a partition of the topic as a group sees it.
type Place struct {
	Group     string
	Partition int32
}

// Request is a request as the simulated Braze saw it.
type Request struct {
	Seq      int
	Came     time.Time
	Over     time.Time // Zero when Braze stopped before.
	Naming   bool
	Cohort   string // Empty on the attributes API.
	Worker   string
	Ops      []Op
	Status   int
	Answered bool
	Applied  bool
}

// Op is one change in a request. Cohort is the attribute's name on the
// attributes API.
type Op struct {
	Identifier
	Cohort  string
	Remove  bool
	Refused bool
}

// History is what one target's Braze has seen.
type History struct {
	Requests []Request
	// Members are those of each cohort at the end.
	Members map[string]map[Identifier]bool
	// Violations are what no client may ever do, as the simulated Braze counts
	// it, but for requests in flight at once, which are judged here.
	Violations []string
}

// Evidence is all that a judgement rests on.
type Evidence struct {
	Targets []Target
	Log     []Record
	Letters []Letter
	// Owners is nil where the broker keeps no log of its groups: then what needs
	// the owners is not judged, and late changes are judged leniently.
	Owners map[Place]*Ownership
	// Ends are the log's ends, Committed what each group has committed.
	Ends      map[int32]int64
	Committed map[Place]int64
	// Braze has the history of each target.
	Braze map[string]*History
	// RequestTimeout is the workers' deadline for one request.
	RequestTimeout time.Duration
	// Poison begins the value of every identifier that Braze refuses.
	Poison string
}
