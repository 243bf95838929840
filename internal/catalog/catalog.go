// Package catalog holds what is synced to where: targets, syncs and the rules
// that turn event properties into Braze identifiers. It is plain data: the
// config package fills it, every other package reads it, nobody changes it
// afterwards.
package catalog

import "time"

// Kind is one of the ways in which Braze knows a user.
type Kind uint8

// The kinds of identifier that Braze's cohort endpoint takes
// (https://www.braze.com/docs/partners/isv_partners/cohort_import).
const (
	ExternalID Kind = iota + 1
	DeviceID
	UserAlias
)

// String returns the kind's name in the configuration file.
func (k Kind) String() string {
	switch k {
	case ExternalID:
		return "external_id"
	case DeviceID:
		return "device_id"
	case UserAlias:
		return "user_alias"
	default:
		return "unknown"
	}
}

// Identifier is what Braze knows one user by. Label is set for aliases only.
// It is comparable: two equal identifiers are the same user to Braze.
type Identifier struct {
	Kind  Kind
	Label string
	Value string
}

// Rule says which property of an event becomes which identifier.
type Rule struct {
	// From is the property's path, its steps separated by dots:
	// "user_id", "device_id", "user_properties.crm_id".
	From string
	// To is the identifier's kind.
	To Kind
	// Label is the alias label; empty unless To is UserAlias.
	Label string
}

// API is one of Braze's two ways to keep a cohort's members.
type API string

// Cohorts is the partner API that names cohorts and changes their members;
// Attributes keeps one boolean custom attribute for each cohort.
const (
	Cohorts    API = "cohorts"
	Attributes API = "attributes"
)

// MaxBatch is how many identifiers Braze takes in one request
// (https://www.braze.com/docs/partners/isv_partners/cohort_import and
// https://www.braze.com/docs/api/endpoints/user_data/post_user_track).
func (a API) MaxBatch() int {
	if a == Attributes {
		return 75
	}
	return 1000
}

// Send says how many of a user's identifiers are sent.
type Send string

// SendAll sends every identifier that is present; SendFirst takes the first
// rule that has a value, and all of that rule's values.
const (
	SendAll   Send = "all"
	SendFirst Send = "first"
)

// Limit is a rate limit: Requests in every Per, at most Burst at once.
type Limit struct {
	Requests int
	Per      time.Duration
	Burst    int
}

// Target is a named Braze destination. Its name never changes: the consumer
// group and so the offsets hang on it.
type Target struct {
	Name string
	// Slug is the name as it stands in the consumer group's name.
	Slug string
	// Endpoint is the base URL of the REST API, without a trailing slash.
	Endpoint string
	API      API
	// Partner is the path segment of the cohorts API; empty for the other.
	Partner string
	// Attribute is the template of the custom attributes' names; empty for the
	// cohorts API.
	Attribute string
	// ReorderGuard is how long an identifier is not sent again after Braze's
	// last answer about it, for Braze may reorder what it takes asynchronously.
	// Zero for the cohorts API.
	ReorderGuard   time.Duration
	Identifiers    []Rule
	Send           Send
	RequestTimeout time.Duration
	RateLimit      Limit
	// MaxBatch is the most identifiers in a request, MaxInFlight the most
	// requests at once.
	MaxBatch    int
	MaxInFlight int
	// MaxDeadLettersPerMinute locks the target when more changes than that
	// would go to the dead-letter topic within a minute.
	MaxDeadLettersPerMinute int
}

// RequestsPerCohort is how many requests of one cohort may be in flight: one on
// the cohorts API, where Braze answers 423 to a second.
func (t *Target) RequestsPerCohort() int {
	if t.API == Attributes {
		return t.MaxInFlight
	}
	return 1
}

// Wildcard is the cohort id of a sync that takes every cohort which no other
// sync of its target names.
const Wildcard = "*"

// Sync is one cohort sent to one target.
type Sync struct {
	// Name is a label: people and metrics read it, nothing hangs on it.
	Name     string
	CohortID string
	// Target is the target's name.
	Target string
	// Linger is how long a change may wait for others to share its request.
	Linger time.Duration
}

// Routes finds the sync of a cohort among the syncs of one target.
type Routes struct {
	byCohort map[string]*Sync
	wildcard *Sync
}

// NewRoutes builds the routes of the named target. It keeps pointers into a
// copy of syncs, so that the caller's slice stays its own.
func NewRoutes(target string, syncs []Sync) *Routes {
	r := &Routes{byCohort: make(map[string]*Sync)}
	for _, s := range syncs {
		if s.Target != target {
			continue
		}
		if s.CohortID == Wildcard {
			r.wildcard = &s
			continue
		}
		r.byCohort[s.CohortID] = &s
	}
	return r
}

// Route returns the sync of a cohort, or nil when the target does not sync it.
// It takes bytes because the caller decodes without copying.
func (r *Routes) Route(cohortID []byte) *Sync {
	if s, ok := r.byCohort[string(cohortID)]; ok {
		return s
	}
	return r.wildcard
}

// Syncs returns the target's syncs, in no particular order.
func (r *Routes) Syncs() []*Sync {
	all := make([]*Sync, 0, len(r.byCohort)+1)
	for _, s := range r.byCohort {
		all = append(all, s)
	}
	if r.wildcard != nil {
		all = append(all, r.wildcard)
	}
	return all
}
