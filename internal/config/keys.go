package config

import (
	"io"
	"log/slog"
	"math"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"cohortsync/internal/catalog"
)

// draft is a Config while the file is read: braze: and targets: apart.
type draft struct {
	*Config
	braze Target
}

// keys is the whole file. What a key is called, what it may hold and what it
// is for stand here and nowhere else.
func (c *draft) keys() []key {
	return []key{
		{"kafka", "The log and the consumer groups.", true, block(kafkaKeys(&c.Kafka))},
		{"braze", "The older form with a single target, named Default: a target's keys without name.", false, block(targetKeys(&c.braze)[1:])},
		{"targets", "The Braze destinations.", false, list[Target]{&c.Targets, defaultTarget, func(t *Target) value { return block(targetKeys(t)) }, true}},
		{"syncs", "The cohorts to send, each to one target.", false, list[catalog.Sync]{&c.Syncs, func() catalog.Sync { return catalog.Sync{Linger: unset} }, func(s *catalog.Sync) value { return block(syncKeys(s)) }, false}},
		{"delivery", "How changes wait for each other.", false, block{
			{"linger", "How long a change may wait for others to share its request; the default of every sync.", false, linger(&c.Delivery.Linger)},
			{"late_window", "How long a feed remembers what it delivered, to drop older changes that come late.", false, duration(&c.Delivery.LateWindow)},
			{"max_memory", "The most memory for pending changes and late memory; then reading stops.", false, amount(&c.Delivery.MaxMemory)},
		}},
		{"http", "Health checks and metrics.", false, block{
			{"listen", "The address, host:port, on which they are served.", false, words(&c.HTTP.Listen, "want host:port, such as 127.0.0.1:8080 or :8080", checkListen)},
		}},
		{"log", "What is logged and how.", false, block{
			{"level", "The least important level that is logged.", false, level(&c.Log.Level)},
			{"format", "json for machines, text for people.", false, oneOf(&c.Log.Format, []string{"json", "text"})},
		}},
		{"notify", "Email and other notices.", false, unbuilt{}},
	}
}

func kafkaKeys(k *Kafka) []key {
	return []key{
		{"brokers", "The brokers to begin with, host:port each.", true, list[string]{&k.Brokers, func() string { return "" }, func(s *string) value {
			return words(s, "want host:port, such as localhost:9092", checkBroker)
		}, true}},
		{"topic", "The topic of membership changes.", true, words(&k.Topic, wantTopic, checkTopic)},
		{"dead_letter_topic", "Where changes go that Braze or the decoder refuses; <topic>.dead-letter unless given.", false, words(&k.DeadLetterTopic, wantTopic, checkTopic)},
		{"group", "The beginning of every consumer group's name: <group>.<target>.", false, words(&k.Group, wantTopic, checkTopic)},
		{"start_from", "Where a group without commits begins: earliest, latest or an RFC 3339 time.", false, startFrom(&k.StartFrom)},
		{"tls", "Transport security towards the brokers.", false, block{
			{"enabled", "Whether to use TLS.", false, boolean{&k.TLS.Enabled}},
			{"ca_file", "A PEM file of the authorities to trust instead of the system's.", false, words(&k.TLS.CAFile, wantFile, anything)},
			{"cert_file", "A PEM file with the client certificate.", false, words(&k.TLS.CertFile, wantFile, anything)},
			{"key_file", "A PEM file with the client certificate's key.", false, words(&k.TLS.KeyFile, wantFile, anything)},
		}},
		{"sasl", "The login at the brokers.", false, block{
			{"mechanism", "How to log in.", false, oneOf(&k.SASL.Mechanism, []SASLMechanism{SASLNone, SASLPlain, SASLScram256, SASLScram512})},
			{"username", "The user, plain or as a reference.", false, secret{&k.SASL.Username, true}},
			{"password", "The password: ${env:NAME} or ${file:PATH}.", false, secret{&k.SASL.Password, false}},
		}},
		{"session_timeout", "How long a silent member keeps its partitions.", false, duration(&k.SessionTimeout)},
		{"rebalance_timeout", "How long members have to rejoin in a rebalance.", false, duration(&k.RebalanceTimeout)},
		{"heartbeat_interval", "How often a member shows that it lives.", false, duration(&k.HeartbeatInterval)},
		{"drain_timeout", "How long requests in flight may take when partitions are lost or the worker stops.", false, duration(&k.DrainTimeout)},
		{"commit_interval", "How often offsets are committed.", false, duration(&k.CommitInterval)},
		{"allow_compacted", "Whether to read a topic whose compaction has thrown changes away.", false, boolean{&k.AllowCompacted}},
		{"isolation", "Whether to read a topic that is written in transactions as it is written, or only what was committed.", false, oneOf(&k.Isolation, []Isolation{ReadUncommitted, ReadCommitted})},
	}
}

// targetKeys has the name first, for braze: goes without.
func targetKeys(t *Target) []key {
	return []key{
		{"name", "The target's name. It never changes: the consumer group hangs on it.", true, words(&t.Name, "want a name, such as US Production", anything)},
		{"endpoint", "The REST endpoint of the Braze cluster.", true, words(&t.Endpoint, wantEndpoint, anything)},
		{"api", "The Braze API to use: the partner's cohorts, or one custom attribute for each cohort.", false, oneOf(&t.API, []catalog.API{catalog.Cohorts, catalog.Attributes})},
		{"partner", "The partner's name in the path of the cohorts API.", false, words(&t.Partner, "want lower-case letters, digits, dashes and underscores", checkPartner)},
		{"partner_api_key", "The key that Braze gave the partner, for the cohorts API: ${env:NAME} or ${file:PATH}.", false, secret{&t.PartnerAPIKey, false}},
		{"api_key", "The workspace's data import key or, for the attributes API, a REST API key: ${env:NAME} or ${file:PATH}.", true, secret{&t.APIKey, false}},
		{"identifiers", "Which event property becomes which Braze identifier.", true, list[catalog.Rule]{&t.Identifiers, func() catalog.Rule { return catalog.Rule{} }, func(r *catalog.Rule) value { return block(ruleKeys(r)) }, true}},
		{"send", "Whether to send every identifier that is present or those of the first rule that has any.", false, oneOf(&t.Send, []catalog.Send{catalog.SendAll, catalog.SendFirst})},
		{"request_timeout", "How long one request may take.", false, duration(&t.RequestTimeout)},
		{"rate_limit", "The rate limit of the credential, shared by all who use it.", false, block{
			{"requests", "How many requests.", false, whole{&t.RateLimit.Requests, 1, 0}},
			{"per", "In how long.", false, duration(&t.RateLimit.Per)},
			{"burst", "How many of them at once.", false, whole{&t.RateLimit.Burst, 1, 0}},
		}},
		{"max_batch", "The most identifiers in one request; Braze takes 1000 of cohorts and 75 of attributes.", false, whole{&t.MaxBatch, 1, 1000}},
		{"max_in_flight", "The most requests at once.", false, whole{&t.MaxInFlight, 1, 0}},
		{"max_dead_letters_per_minute", "More dead letters than this in a minute lock the target.", false, whole{&t.MaxDeadLettersPerMinute, 1, 0}},
		{"allow_any_endpoint", "Takes any http or https URL as the endpoint, for a simulator or a proxy.", false, boolean{&t.AllowAnyEndpoint}},
		{"attribute", "The name of a cohort's custom attribute, for the attributes API; {cohort_id} and {sync} stand for those. cohort_{cohort_id} unless given.", false, words(&t.Attribute, wantAttribute, checkAttribute)},
		{"reorder_guard", "How long an identifier is not sent again after Braze's answer, for the attributes API; 1s unless given.", false, given(duration(&t.ReorderGuard), 1)},
	}
}

func ruleKeys(r *catalog.Rule) []key {
	return []key{
		{"from", "The event property: user_id, device_id or user_properties.<path>.", true, words(&r.From, wantProperty, checkProperty)},
		{"to", "The identifier: external_id, device_id or user_alias.", true, kind(&r.To)},
		{"label", "The alias label, for user_alias.", false, words(&r.Label, "want the alias's label", anything)},
	}
}

func syncKeys(s *catalog.Sync) []key {
	cadence := "real_time"
	return []key{
		{"name", "A label for people and metrics; the cohort_id unless given.", false, words(&s.Name, "want a name", anything)},
		{"cohort_id", `The cohort's id in the events; "*" takes every cohort that no other sync of the target names.`, true, words(&s.CohortID, `want a cohort id or "*", in quotes`, anything)},
		{"target", "The target's name; Default unless given.", false, words(&s.Target, "want the name of a target", anything)},
		{"cadence", "When to send.", false, oneOf(&cadence, []string{"real_time"}, "scheduled", "one_time")},
		{"linger", "How long a change may wait for others to share its request; delivery.linger unless given.", false, given(linger(&s.Linger), 0)},
		{"every", "The schedule.", false, unbuilt{}},
		{"cron", "The schedule.", false, unbuilt{}},
		{"timezone", "The schedule's time zone.", false, unbuilt{}},
	}
}

const (
	wantTopic    = "want letters, digits, dots, dashes and underscores, at most 249"
	wantFile     = "want the path of a PEM file"
	wantProperty = "want user_id, device_id or user_properties.<path>"
	// defaultAttribute is the template of attributes' names.
	defaultAttribute = "cohort_" + catalog.CohortIDPlaceholder
	wantAttribute    = "want a name with {cohort_id} or {sync}, such as " + defaultAttribute
)

var (
	topicName   = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)
	partnerName = regexp.MustCompile(`^[a-z0-9_-]+$`)
	byteAmount  = regexp.MustCompile(`^([0-9]+) ?(B|kB|KB|MB|GB|KiB|MiB|GiB)?$`)
)

func checkTopic(s string) string {
	if !topicName.MatchString(s) || s == "." || s == ".." {
		return strconv.Quote(s) + " is not a name that Kafka takes"
	}
	return ""
}

func checkPartner(s string) string {
	if !partnerName.MatchString(s) {
		return strconv.Quote(s) + " is not a partner's name"
	}
	return ""
}

func checkBroker(s string) string { return checkAddress(s, true) }
func checkListen(s string) string { return checkAddress(s, false) }

func checkAddress(s string, remote bool) string {
	host, port, err := net.SplitHostPort(s)
	n, numeric := strconv.ParseUint(port, 10, 16)
	if strings.Contains(s, "@") {
		return "holds a user or password" // It is not quoted for that.
	}
	if err != nil || numeric != nil || strings.ContainsAny(host, "/ ") || (remote && (host == "" || n == 0)) {
		return strconv.Quote(s) + " is not host:port"
	}
	return ""
}

func checkProperty(s string) string {
	if s == "user_id" || s == "device_id" {
		return ""
	}
	path, ok := strings.CutPrefix(s, "user_properties.")
	if !ok {
		return strconv.Quote(s) + " is not a property of an event"
	}
	for step := range strings.SplitSeq(path, ".") {
		if step == "" {
			return strconv.Quote(s) + " has an empty step"
		}
	}
	return ""
}

func checkAttribute(s string) string {
	rest := strings.NewReplacer(catalog.CohortIDPlaceholder, "", catalog.SyncPlaceholder, "").Replace(s)
	if strings.ContainsAny(rest, "{}") {
		return strconv.Quote(s) + " has a placeholder that is not known"
	}
	return ""
}

func kind(to *catalog.Kind) value {
	kinds := map[string]catalog.Kind{}
	for _, k := range []catalog.Kind{catalog.ExternalID, catalog.DeviceID, catalog.UserAlias} {
		kinds[k.String()] = k
	}
	return text[catalog.Kind]{
		to: to, want: "want external_id, device_id or user_alias",
		more: map[string]any{"enum": []string{"external_id", "device_id", "user_alias"}},
		parse: func(s string) (catalog.Kind, string) {
			if k, ok := kinds[s]; ok {
				return k, ""
			}
			return 0, strconv.Quote(s) + " is not an identifier's kind"
		},
		format: func(k catalog.Kind) string {
			if k == 0 {
				return ""
			}
			return k.String()
		},
	}
}

// linger is a duration that may be nothing.
func linger(to *time.Duration) value {
	v := duration(to).(text[time.Duration])
	v.want, v.numbers = "want a time with its unit, such as 500ms or 1s, or 0", true
	v.parse = func(s string) (time.Duration, string) {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return 0, strconv.Quote(s) + " is not a duration"
		}
		return d, ""
	}
	v.more = map[string]any{"pattern": `^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`}
	return v
}

// unset is the time of a key without a default of its own that is not given.
const unset time.Duration = -1

// given shows nothing of a time below least: it is not given.
func given(v value, least time.Duration) value {
	t := v.(text[time.Duration])
	t.format = func(d time.Duration) string {
		if d < least {
			return ""
		}
		return formatDuration(d)
	}
	return t
}

func level(to *slog.Level) value {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	return text[slog.Level]{
		to: to, want: "want debug, info, warn or error",
		more: map[string]any{"enum": []string{"debug", "info", "warn", "error"}},
		parse: func(s string) (slog.Level, string) {
			if l, ok := levels[s]; ok {
				return l, ""
			}
			return 0, strconv.Quote(s) + " is not a level"
		},
		format: func(l slog.Level) string { return strings.ToLower(l.String()) },
	}
}

func startFrom(to *StartFrom) value {
	return text[StartFrom]{
		to: to, want: "want earliest, latest or a time such as 2026-01-31T09:00:00Z", format: StartFrom.String,
		parse: func(s string) (StartFrom, string) {
			if s == string(StartEarliest) || s == string(StartLatest) {
				return StartFrom{At: Start(s)}, ""
			}
			t, err := time.Parse(time.RFC3339, s)
			if err != nil {
				return StartFrom{}, strconv.Quote(s) + " is not a starting point"
			}
			return StartFrom{At: StartTime, Time: t}, ""
		},
	}
}

// units of memory, the greatest first.
func units() []struct {
	name string
	size int64
} {
	return []struct {
		name string
		size int64
	}{{"GiB", 1 << 30}, {"GB", 1e9}, {"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1}, {"", 1}}
}

func amount(to *Bytes) value {
	return text[Bytes]{
		to: to, want: "want at least 1MiB, such as 256MiB, 64MB or a plain number of bytes", numbers: true,
		parse: func(s string) (Bytes, string) {
			m := byteAmount.FindStringSubmatch(s)
			if m == nil {
				return 0, strconv.Quote(s) + " is not an amount of memory"
			}
			n, err := strconv.ParseInt(m[1], 10, 64)
			for _, u := range units() {
				if u.name != m[2] {
					continue
				}
				if err != nil || n > math.MaxInt64/u.size {
					return 0, "is too much"
				}
				n *= u.size
			}
			if n < 1<<20 {
				return 0, "is too little"
			}
			return Bytes(n), ""
		},
		format: Bytes.String,
	}
}

// String returns the amount in the greatest unit that divides it.
func (b Bytes) String() string {
	for _, u := range units() {
		if b != 0 && int64(b)%u.size == 0 && u.name != "" {
			return strconv.FormatInt(int64(b)/u.size, 10) + u.name
		}
	}
	return "0B"
}

// Print writes the configuration as YAML, defaults filled in and plain secrets
// redacted. A braze: block appears as the target that it stands for.
func (c *Config) Print(w io.Writer) error {
	d := draft{Config: c}
	shown := block(without(d.keys(), "braze")).show()
	return yaml.NewEncoder(w, yaml.IndentSequence(true)).Encode(shown)
}

func without(keys []key, name string) []key {
	var kept []key
	for _, k := range keys {
		if k.name != name {
			kept = append(kept, k)
		}
	}
	return kept
}
