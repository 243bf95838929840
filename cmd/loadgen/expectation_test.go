package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"cohortsync/internal/event"
)

// model is the membership as anybody would work it out who has only the log.
type model struct {
	t       require.TestingT
	decoder *event.Decoder
	cohorts map[string]*modelCohort
	records int64
	changes int64
}

type modelCohort struct {
	name string
	// newest is the time of the newest change of each user.
	newest map[string]int64
	in     map[string]bool
}

func newModel(t require.TestingT) *model {
	return &model{t: t, decoder: event.NewDecoder([]event.Path{path(t, "user_id")}), cohorts: map[string]*modelCohort{}}
}

// read takes in the next record of the log; of different partitions, in any order.
func (m *model) read(value []byte) {
	e, err := m.decoder.Decode(value, noon.Add(24*time.Hour))
	require.NoError(m.t, err)
	require.Equal(m.t, event.TimeOK, e.TimeIssue)
	c := m.cohorts[string(e.CohortID)]
	if c == nil {
		c = &modelCohort{newest: map[string]int64{}, in: map[string]bool{}}
		m.cohorts[string(e.CohortID)] = c
	}
	c.name = string(e.CohortName)
	for _, u := range e.Users {
		id := string(u.Values[0].Bytes)
		if e.Time >= c.newest[id] {
			c.newest[id], c.in[id] = e.Time, e.InCohort
		}
		m.changes++
	}
	m.records++
}

// requireEqual holds a file against the model.
func (m *model) requireEqual(o *outcome) {
	require.Len(m.t, o.Cohorts, len(m.cohorts))
	for _, got := range o.Cohorts {
		c := m.cohorts[got.ID]
		require.NotNil(m.t, c, got.ID)
		members, left := []string{}, []string{}
		for id, in := range c.in {
			if in {
				members = append(members, id)
			} else {
				left = append(left, id)
			}
		}
		slices.Sort(members)
		slices.Sort(left)
		require.Equal(m.t, members, got.Members, "who is in %s", got.ID)
		require.Equal(m.t, left, got.Left, "who has left %s", got.ID)
		require.Equal(m.t, c.name, got.Name)
	}
}

func TestTheExpectationIsTheFoldOfTheRecords(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := shapes(t)
		people, records := recordsOf(s)
		encoder, expect, want := newEncoder(s, people), newExpectation(people), newModel(t)
		for _, r := range records {
			want.read(encoder.appendJSON(nil, r))
			expect.take(r)
		}
		var file bytes.Buffer
		require.NoError(t, expect.write(&file, outcome{Records: want.records, Changes: want.changes}))
		var got outcome
		require.NoError(t, json.Unmarshal(file.Bytes(), &got))
		want.requireEqual(&got)
	})
}

func TestABatchThatARetryPutIntoTheLogTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := shapes(t)
		people, records := recordsOf(s)
		encoder, expect, want := newEncoder(s, people), newExpectation(people), newModel(t)
		// The first copy of a batch may arrive long after the second one was
		// acknowledged: the network had held it back.
		from := rapid.IntRange(0, len(records)-1).Draw(t, "from")
		to := rapid.IntRange(from, len(records)).Draw(t, "to")
		at := rapid.IntRange(to, len(records)).Draw(t, "comes again at")
		for _, r := range slices.Concat(records[:at], records[from:to], records[at:]) {
			want.read(encoder.appendJSON(nil, r))
		}
		for _, r := range records {
			expect.take(r)
		}
		var file bytes.Buffer
		require.NoError(t, expect.write(&file, outcome{}))
		var got outcome
		require.NoError(t, json.Unmarshal(file.Bytes(), &got))
		want.requireEqual(&got)
	})
}

func TestTheFileWithTheExpectedMembership(t *testing.T) {
	t.Parallel()
	s := plain(t, func(s *shape) {
		s.Cohorts, s.Users, s.Changes, s.Churn, s.Late, s.Duplicates, s.Seed = 4, 12, 20, 0.4, 0.2, 0.1, 7
	})
	people, records := recordsOf(s)
	expect := newExpectation(people)
	for _, r := range records {
		expect.take(r)
	}
	path := filepath.Join(t.TempDir(), "expected.json")
	file, err := createOutcome(path)
	require.NoError(t, err)
	require.NoFileExists(t, path, "nobody reads half of it")
	require.NoError(t, file.commit(expect, outcome{Topic: "changes", Seed: s.Seed, Records: 20, Changes: 20, Uncertain: 3}))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	golden(t, "expected.json", string(text))
	read, err := readOutcome(path)
	require.NoError(t, err)
	require.Equal(t, int64(3), read.Uncertain)
	rest, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, rest, 1, "the temporary file is gone")
}

func TestARunWithoutRecordsExpectsNobody(t *testing.T) {
	t.Parallel()
	var file bytes.Buffer
	require.NoError(t, newExpectation(newPopulation(plain(t, func(*shape) {}))).write(&file, outcome{Topic: "t"}))
	require.JSONEq(t, `{"version":1,"topic":"t","seed":0,"records":0,"changes":0,"cohorts":[]}`, file.String())
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

var errFull = errors.New("no space left on device")

func TestAFileThatCannotBeWrittenIsAnError(t *testing.T) {
	t.Parallel()
	people, records := recordsOf(plain(t, func(s *shape) { s.Changes = 10 }))
	expect := newExpectation(people)
	expect.take(records[0])
	require.ErrorIs(t, expect.write(full{}, outcome{}), errFull)
	_, err := createOutcome(filepath.Join(t.TempDir(), "none", "expected.json"))
	require.ErrorContains(t, err, "creating the file for the expected membership")
}

func TestAFileThatIsNoneOfOursIsRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"version":2}`: "this command reads version 1",
		`{}`:            "its version is 0",
		`{"version":1`:  "unexpected end of JSON input",
	} {
		path := filepath.Join(t.TempDir(), "expected.json")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := readOutcome(path)
		require.ErrorContains(t, err, want)
	}
}
