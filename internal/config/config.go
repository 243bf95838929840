// Package config reads the worker's one configuration file: defaults, strict
// decoding, the rules between keys, and secrets that stay out of sight. A
// Config that Parse or Load returned without an error is complete and
// consistent; nobody changes it afterwards, so it is safe for concurrent use.
package config

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"cohortsync/internal/catalog"
)

// DefaultTargetName is the name of the target that a braze: block stands for,
// and of the one that syncs without a target go to.
const DefaultTargetName = "Default"

// Config is the whole file with its defaults filled in.
type Config struct {
	Kafka Kafka
	// Targets holds the braze: block first, when there is one, then targets:
	// in the file's order.
	Targets  []Target
	Syncs    []catalog.Sync
	Delivery Delivery
	HTTP     HTTP
	Log      Log

	// file remembers where things stand, for problems found after parsing.
	file *positions
	// owners holds each target's YAML path, index by index.
	owners []string
}

// Kafka says where the log is and how the consumer groups behave.
type Kafka struct {
	Brokers         []string
	Topic           string
	DeadLetterTopic string
	// Group is the prefix of every target's consumer group.
	Group             string
	StartFrom         StartFrom
	TLS               TLS
	SASL              SASL
	SessionTimeout    time.Duration
	RebalanceTimeout  time.Duration
	HeartbeatInterval time.Duration
	DrainTimeout      time.Duration
	CommitInterval    time.Duration
	AllowCompacted    bool
	Isolation         Isolation
}

// GroupOf returns the target's consumer group.
func (k Kafka) GroupOf(t Target) string { return k.Group + "." + t.Slug }

// Lease returns how long after a commit was sent a request with the given
// timeout may still start: by then no other member can own the partition
// before the request has ended. See Order in docs/design.md.
func (k Kafka) Lease(requestTimeout time.Duration) time.Duration {
	return k.membership() - k.HeartbeatInterval - requestTimeout
}

// membership is how long the broker is sure to wait before it gives a silent
// member's partitions away.
func (k Kafka) membership() time.Duration { return min(k.SessionTimeout, k.RebalanceTimeout) }

// Start says where a group without commits begins.
type Start string

// The starting points. StartTime goes with StartFrom.Time.
const (
	StartEarliest Start = "earliest"
	StartLatest   Start = "latest"
	StartTime     Start = "time"
)

// StartFrom is a starting point; Time is zero unless At is StartTime.
type StartFrom struct {
	At   Start
	Time time.Time
}

// String returns the value as it stands in the file.
func (s StartFrom) String() string {
	if s.At == StartTime {
		return s.Time.Format(time.RFC3339Nano)
	}
	return string(s.At)
}

// TLS is the transport security towards the brokers. Empty files mean the
// system's roots and no client certificate.
type TLS struct {
	Enabled  bool
	CAFile   string
	CertFile string
	KeyFile  string
}

// SASLMechanism is a way to log in to the brokers.
type SASLMechanism string

// Isolation says what is read of a topic that is written in transactions.
type Isolation string

// ReadUncommitted takes every record as it is written. ReadCommitted takes those
// of transactions that were committed, once they were.
const (
	ReadUncommitted Isolation = "read_uncommitted"
	ReadCommitted   Isolation = "read_committed"
)

// The mechanisms; SASLNone does not log in.
const (
	SASLNone     SASLMechanism = "none"
	SASLPlain    SASLMechanism = "plain"
	SASLScram256 SASLMechanism = "scram-sha-256"
	SASLScram512 SASLMechanism = "scram-sha-512"
)

// SASL is the login at the brokers.
type SASL struct {
	Mechanism SASLMechanism
	// Username may be a reference as well, although it is no secret.
	Username Secret
	Password Secret
}

// Target is a Braze destination with its credentials.
type Target struct {
	catalog.Target
	// PartnerAPIKey is empty for the attributes API.
	PartnerAPIKey    Secret
	APIKey           Secret
	AllowAnyEndpoint bool
}

// Bytes is an amount of memory.
type Bytes int64

// Delivery says how changes wait for each other.
type Delivery struct {
	Linger     time.Duration
	LateWindow time.Duration
	MaxMemory  Bytes
}

// HTTP is the address of health checks and metrics.
type HTTP struct {
	Listen string
}

// Log says what is logged and how: Format is json or text.
type Log struct {
	Level  slog.Level
	Format string
}

// defaults returns a configuration with every default set.
func defaults() Config {
	return Config{
		Kafka: Kafka{
			Group:             "cohortsync",
			StartFrom:         StartFrom{At: StartEarliest},
			SASL:              SASL{Mechanism: SASLNone},
			Isolation:         ReadUncommitted,
			SessionTimeout:    30 * time.Second,
			RebalanceTimeout:  30 * time.Second,
			HeartbeatInterval: 3 * time.Second,
			DrainTimeout:      20 * time.Second,
			CommitInterval:    time.Second,
		},
		Delivery: Delivery{Linger: time.Second, LateWindow: 10 * time.Minute, MaxMemory: 256 << 20},
		HTTP:     HTTP{Listen: "127.0.0.1:8080"},
		Log:      Log{Level: slog.LevelInfo, Format: "json"},
	}
}

// defaultTarget returns a target with every default of the cohorts API set. The
// rate limit is that of Braze's cohort endpoint for most customers: 250,000 an
// hour, of which 70 may come at once.
func defaultTarget() Target {
	return Target{
		Target: catalog.Target{
			API:                     catalog.Cohorts,
			Partner:                 "amplitude",
			Send:                    catalog.SendAll,
			RequestTimeout:          15 * time.Second,
			RateLimit:               catalog.Limit{Requests: 250_000, Per: time.Hour, Burst: 70},
			MaxBatch:                1000,
			MaxInFlight:             64,
			MaxDeadLettersPerMinute: 1000,
		},
	}
}

// slug turns a target's name into the part of its group's name: lower case,
// each run of other characters one dash, none at the ends.
func slug(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	return strings.Join(words, "-")
}

// Load reads and parses the file at path by way of from. See Parse, and
// ParseAll for all.
func Load(path string, from Source, all bool) (*Config, Problems, error) {
	data, err := from.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the configuration: %w", err)
	}
	return parse(path, data, from, all)
}
