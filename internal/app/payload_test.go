package app_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"cohortsync/internal/braze/brazetest"
	"cohortsync/internal/catalog"
)

// payloadRow is records of one cohort, whose id is the row's name, and what a
// user of the worker sees of them. In records, $C stands for the cohort.
type payloadRow struct {
	name    string
	records []string
	// unsynced leaves the cohort out of the configuration.
	unsynced bool
	// spread puts each record to a partition of its own.
	spread bool
	// tombstone writes the one record without a value.
	tombstone bool

	// counts are the counters that move, records and bytes aside.
	counts  map[string]float64
	members []catalog.Identifier
	// letter is the reason of the dead letter, in stage decode; empty for none.
	letter string
	// valueless says that the letter is too large with the record in it.
	valueless bool
	// warning is a part of the line that the log gets; empty for none.
	warning string
}

// change is a record with one user and these fields beside.
func change(fields string) string {
	return `{"cohort_id":"$C",` + fields + `"in_cohort":true,"users":[{"user_id":"u"}]}`
}

func ofUser(user string) string {
	return `{"cohort_id":"$C","in_cohort":true,"computed_time":"1692206763","users":[` + user + `]}`
}

// one is what a single change that Braze accepts moves, and what else.
func one(more ...string) map[string]float64 {
	return counted(append(more, "users_total", "changes_consumed_total", "changes_delivered_total")...)
}

// skipped is what a single user who cannot be sent moves.
func skipped(reason string) map[string]float64 {
	return counted("users_total", "changes_consumed_total", "changes_skipped_total{reason="+reason+"}")
}

func undecodable(reason string) map[string]float64 {
	return counted("records_undecodable_total{reason="+reason+"}", "dead_letters_total{stage=decode}")
}

func counted(series ...string) map[string]float64 {
	counts := make(map[string]float64)
	for _, s := range series {
		counts[s]++
	}
	return counts
}

func replaced(reason string) string { return "computed_time_replaced_total{reason=" + reason + "}" }

func brokenRecords() []payloadRow {
	return []payloadRow{
		{name: "not json", records: []string{`cohort $C: alice, bob`}, counts: undecodable("not_json"), letter: "not_json"},
		{name: "half a record", records: []string{`{"cohort_id":"$C","in_cohort":true,"users":[{"user_id":"u"`}, counts: undecodable("not_json"), letter: "not_json"},
		{name: "two objects", records: []string{change("") + change("")}, counts: undecodable("not_json"), letter: "not_json"},
		{name: "json of another shape", records: []string{`[{"user_id":"u"}]`}, counts: undecodable("not_an_object"), letter: "not_an_object"},
		{name: "an object of something else", records: []string{`{"event":"purchase","price":3}`}, counts: undecodable("no_cohort_id"), letter: "no_cohort_id"},
		{name: "an object in a string", records: []string{`"{\"cohort_id\":\"$C\"}"`}, counts: undecodable("not_an_object"), letter: "not_an_object"},
		{name: "nested without end", records: []string{strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)}, counts: undecodable("too_deep"), letter: "too_deep"},
		{name: "empty value", records: []string{``}, counts: counted("records_empty_total")},
		{name: "tombstone", records: []string{``}, tombstone: true, counts: counted("records_empty_total")},
		{name: "no cohort_id", records: []string{`{"in_cohort":true,"users":[{"user_id":"u"}]}`}, counts: undecodable("no_cohort_id"), letter: "no_cohort_id"},
		{name: "cohort_id empty", records: []string{`{"cohort_id":"","in_cohort":true,"users":[{"user_id":"u"}]}`}, counts: undecodable("no_cohort_id"), letter: "no_cohort_id"},
		{name: "cohort_id with control characters", records: []string{`{"cohort_id":"a\u0000b","in_cohort":true,"users":[{"user_id":"u"}]}`}, counts: undecodable("bad_cohort_id"), letter: "bad_cohort_id"},
		{name: "no users", records: []string{`{"cohort_id":"$C","in_cohort":true}`}, counts: undecodable("no_users"), letter: "no_users"},
		{name: "users no array", records: []string{`{"cohort_id":"$C","in_cohort":true,"users":{"user_id":"u"}}`}, counts: undecodable("no_users"), letter: "no_users"},
		{name: "users empty", records: []string{`{"cohort_id":"$C","in_cohort":true,"computed_time":"1692206763","users":[]}`}, counts: counted()},
		{name: "a user no object", records: []string{`{"cohort_id":"$C","in_cohort":true,"users":["u"]}`}, counts: undecodable("bad_user"), letter: "bad_user"},
		{name: "in_cohort missing", records: []string{`{"cohort_id":"$C","users":[{"user_id":"u"}]}`}, counts: undecodable("in_cohort_missing"), letter: "in_cohort_missing"},
		{name: "in_cohort a string", records: []string{`{"cohort_id":"$C","in_cohort":"true","users":[{"user_id":"u"}]}`}, counts: undecodable("in_cohort_not_boolean"), letter: "in_cohort_not_boolean"},
		{
			// The broker takes the record, but not with a letter's headers.
			name: "not json and as large as may be", records: []string{strings.Repeat("x", 1<<20-200)},
			counts: undecodable("not_json"), letter: "not_json", valueless: true,
		},
	}
}

func oddTimes() []payloadRow {
	const cannotBeRight = "computed_time cannot be right"
	only := []catalog.Identifier{user("u")}
	return []payloadRow{
		{name: "time missing", records: []string{change("")}, counts: one(replaced("missing")), members: only},
		{name: "time null", records: []string{change(`"computed_time":null,`)}, counts: one(replaced("missing")), members: only},
		{name: "time nonsense", records: []string{change(`"computed_time":"yesterday",`)}, counts: one(replaced("unreadable")), members: only, warning: cannotBeRight},
		{name: "time an object", records: []string{change(`"computed_time":{},`)}, counts: one(replaced("unreadable")), members: only, warning: cannotBeRight},
		{name: "time in milliseconds", records: []string{change(`"computed_time":1692206763123,`)}, counts: one(), members: only},
		{name: "time in microseconds", records: []string{change(`"computed_time":"1692206763123456",`)}, counts: one(), members: only},
		{name: "time with a fraction", records: []string{change(`"computed_time":1692206763.25,`)}, counts: one(), members: only},
		{name: "time as RFC 3339", records: []string{change(`"computed_time":"2023-08-16T17:26:03Z",`)}, counts: one(), members: only},
		{name: "time zero", records: []string{change(`"computed_time":0,`)}, counts: one(replaced("ancient")), members: only, warning: cannotBeRight},
		{
			name:    "clock runs ahead",
			records: []string{change(fmt.Sprintf(`"computed_time":%d,`, time.Now().Add(time.Hour).Unix()))},
			counts:  one(replaced("ahead")), members: only, warning: cannotBeRight,
		},
		{
			// Its time does not count, or no later change would ever win.
			name: "clock runs ahead and the user leaves later",
			records: []string{
				`{"cohort_id":"$C","in_cohort":true,"computed_time":"4102444800","users":[{"user_id":"u"},{"user_id":"stays"}]}`,
				`{"cohort_id":"$C","in_cohort":false,"computed_time":"4102444801","users":[{"user_id":"u"}]}`,
			},
			counts: map[string]float64{
				"users_total": 3, "changes_consumed_total": 3, "changes_delivered_total": 2, "changes_superseded_total": 1,
				replaced("ahead"): 2,
			},
			members: []catalog.Identifier{user("stays")}, warning: cannotBeRight,
		},
		{
			// Seconds and milliseconds are the same clock.
			name: "an older change comes after in other units",
			records: []string{
				`{"cohort_id":"$C","in_cohort":true,"computed_time":1692206763123,"users":[{"user_id":"u"}]}`,
				`{"cohort_id":"$C","in_cohort":false,"computed_time":"1692206763","users":[{"user_id":"u"}]}`,
			},
			counts: map[string]float64{
				"users_total": 2, "changes_consumed_total": 2, "changes_delivered_total": 1, "changes_superseded_total": 1,
			},
			members: only,
		},
	}
}

func oddUsers() []payloadRow {
	long := strings.Repeat("x", 987)
	return []payloadRow{
		{name: "no id", records: []string{ofUser(`{"amplitude_id":7}`)}, counts: skipped("no_identifier")},
		{name: "id null", records: []string{ofUser(`{"user_id":null}`)}, counts: skipped("no_identifier")},
		{name: "id empty", records: []string{ofUser(`{"user_id":""}`)}, counts: skipped("empty")},
		{name: "id of white space", records: []string{ofUser(`{"user_id":"  "}`)}, counts: skipped("empty")},
		{name: "id too long", records: []string{ofUser(`{"user_id":"` + long + `x"}`)}, counts: skipped("too_long")},
		{name: "id just short enough", records: []string{ofUser(`{"user_id":"` + long + `"}`)}, counts: one(), members: []catalog.Identifier{user(long)}},
		{name: "id a number", records: []string{ofUser(`{"user_id":12345678901234567890}`)}, counts: one(), members: []catalog.Identifier{user("12345678901234567890")}},
		{name: "id a fraction", records: []string{ofUser(`{"user_id":1.5}`)}, counts: skipped("not_a_string")},
		{name: "id a boolean", records: []string{ofUser(`{"user_id":true}`)}, counts: skipped("not_a_string")},
		{name: "id an object", records: []string{ofUser(`{"user_id":{"id":"u"}}`)}, counts: skipped("not_a_string")},
		{name: "id with control characters", records: []string{ofUser(`{"user_id":"a\nb"}`)}, counts: skipped("control_characters")},
		{name: "id of half a character", records: []string{ofUser(`{"user_id":"a\ud800"}`)}, counts: skipped("invalid_utf8")},
		{name: "id with quotes", records: []string{ofUser(`{"user_id":"a\"\\\u00e9"}`)}, counts: one(), members: []catalog.Identifier{user(`a"\é`)}},
		{
			name:    "one of two ids cannot be sent",
			records: []string{ofUser(`{"user_id":"","device_id":"d","user_properties":{"crm_id":"C-1"}}`)},
			counts: map[string]float64{
				"users_total": 1, "changes_consumed_total": 3, "changes_delivered_total": 2, "changes_skipped_total{reason=empty}": 1,
			},
			members: []catalog.Identifier{device("d"), alias("C-1")},
		},
		{
			name: "several devices", records: []string{ofUser(`{"device_id":["d1","d2"]}`)},
			counts:  map[string]float64{"users_total": 1, "changes_consumed_total": 2, "changes_delivered_total": 2},
			members: []catalog.Identifier{device("d1"), device("d2")},
		},
		{
			name: "a cohort nobody syncs", records: []string{ofUser(`{"user_id":"a"},{"user_id":"b"}`)}, unsynced: true,
			counts: map[string]float64{"users_total": 2, "changes_consumed_total": 2, "changes_skipped_total{reason=unsynced_cohort}": 2},
		},
		{
			name: "a second partition", spread: true,
			records: []string{ofUser(`{"user_id":"a"}`), ofUser(`{"user_id":"b"}`)},
			counts: map[string]float64{
				"users_total": 2, "changes_consumed_total": 2, "changes_delivered_total": 2, "cohorts_in_two_partitions_total": 1,
			},
			members: []catalog.Identifier{user("a"), user("b")}, warning: "a cohort is in two partitions",
		},
	}
}

func largeRecords() []payloadRow {
	const many = 10_000
	var users strings.Builder
	members := make([]catalog.Identifier, many)
	for i := range members {
		members[i] = user(fmt.Sprint("u", i))
		if i > 0 {
			users.WriteByte(',')
		}
		fmt.Fprintf(&users, `{"user_id":"u%d"}`, i)
	}
	padding := strings.Repeat("x", 1_000_000)
	return []payloadRow{
		{
			name: "a megabyte", records: []string{ofUser(`{"user_id":"u","user_properties":{"bio":"` + padding + `"}}`)},
			counts: one(), members: []catalog.Identifier{user("u")},
		},
		{
			name: "ten thousand users", records: []string{ofUser(users.String())},
			counts:  map[string]float64{"users_total": many, "changes_consumed_total": many, "changes_delivered_total": many},
			members: members,
		},
	}
}

// All rows go through one running worker: whatever comes, it goes on.
func TestWhateverTheRecordsHoldIsCountedAndTold(t *testing.T) {
	t.Parallel()
	rows := slices.Concat(brokenRecords(), oddTimes(), oddUsers(), largeRecords())
	cluster := startKafka(t, 2)
	// Were it the worker's to create, letters could fail for a moment more.
	cluster.Admin().CreateTopic(t, dead, 2)
	braze, url := startBraze(t, brazetest.Options{})
	var cohorts []string
	for _, row := range rows {
		if !row.unsynced {
			cohorts = append(cohorts, row.name)
		}
	}
	w := start(t, setup{
		cluster: cluster,
		targets: []target{{name: "Main", endpoint: url, cohorts: cohorts}},
	})
	eventually(t, func() bool { return w.metric(t, "partitions_owned") == 2 }, "the worker reads")
	client := connect(t, cluster)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			before, lettersBefore := movement(w.gather(t)), end(t, cluster, dead)
			records := row.kafka()
			produce(t, client, records...)
			awaitCommitted(t, cluster, "cohortsync.main")

			moved := movement(w.gather(t))
			for series, v := range before {
				if moved[series] -= v; moved[series] == 0 {
					delete(moved, series)
				}
			}
			require.Equal(t, row.counts, moved)
			members := make(map[catalog.Identifier]bool, len(row.members))
			for _, id := range row.members {
				members[id] = true
			}
			require.Equal(t, members, braze.Members(row.name))
			warnings := 0
			if row.warning != "" {
				warnings = 1
			}
			w.logged(t, warnings, `"`+row.name+`"`, row.warning, "WARN")
			if row.letter == "" {
				require.Equal(t, lettersBefore, end(t, cluster, dead), "dead letters")
				return
			}
			require.Equal(t, lettersBefore+1, end(t, cluster, dead), "dead letters")
			all := letters(t, cluster, int(lettersBefore)+1)
			row.isTold(t, cluster.Name(topic), records[0], all)
		})
	}
	require.Empty(t, braze.Violations())
	require.Equal(t, 200, w.ready(t).code)
	w.keepsSecrets(t)
}

// kafka returns the row's records as they go to Kafka.
func (row payloadRow) kafka() []*kgo.Record {
	records := make([]*kgo.Record, len(row.records))
	for i, value := range row.records {
		value = strings.ReplaceAll(value, "$C", row.name)
		records[i] = &kgo.Record{
			Key: []byte(row.name), Value: []byte(value),
			Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte(row.name)}},
		}
		if row.tombstone {
			records[i].Value = nil
		}
		if row.spread {
			records[i].Partition = int32(i)
		}
	}
	return records
}

// isTold checks the letter of a source record, which is among all letters.
func (row payloadRow) isTold(t *testing.T, topic string, source *kgo.Record, all []*kgo.Record) {
	t.Helper()
	at := slices.IndexFunc(all, func(l *kgo.Record) bool { return string(l.Key) == row.name })
	require.GreaterOrEqual(t, at, 0, "a letter under the record's key")
	letter := all[at]
	require.Equal(t, source.Partition, letter.Partition)
	require.Equal(t, kgo.RecordHeader{Key: "trace", Value: []byte(row.name)}, letter.Headers[0])
	if row.valueless {
		require.Nil(t, letter.Value)
	} else {
		require.Equal(t, string(source.Value), string(letter.Value))
	}
	for name, want := range map[string]string{
		"version": "1", "target": "Main", "stage": "decode", "reason": row.letter, "status": "0", "topic": topic,
		"partition": fmt.Sprint(source.Partition), "offset": fmt.Sprint(source.Offset),
		"timestamp": fmt.Sprint(source.Timestamp.UnixMilli()), "identifiers": "[]", "attempt": "1", "sync": "",
	} {
		require.Equal(t, want, header(letter, name), name)
	}
	require.Contains(t, header(letter, "message"), row.letter)
}

// movement returns the counters that tell what became of records, those of one
// target under their names without it.
func movement(s sample) map[string]float64 {
	moved := make(map[string]float64)
	for series, v := range s {
		for _, family := range []string{
			"records_empty_total", "records_undecodable_total", "users_total", "computed_time_replaced_total",
			"cohorts_in_two_partitions_total", "changes_", "dead_letter", "offsets_out_of_range_total", "target_locks_total", "fetch_failures_total",
		} {
			if strings.HasPrefix(series, family) && v != 0 {
				name := strings.Replace(series, ",target=Main", "", 1)
				moved[strings.Replace(name, "{target=Main}", "", 1)] = v
			}
		}
	}
	return moved
}
