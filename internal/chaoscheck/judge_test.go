package chaoscheck

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// at is a moment of the hand-made histories, in milliseconds from their start.
func at(ms int) time.Time { return time.UnixMilli(1_700_000_000_000 + int64(ms)) }

// history builds evidence: a log of one partition, one target, and what
// happened to them.
type history struct{ Evidence }

var u1 = Identifier{"external_id", "", "u1"}

const cohort = "c"

func begin() *history {
	h := &history{Evidence{
		Targets: []Target{{Name: "US", Group: "g.us", Rules: []Rule{{"user_id", "external_id", ""}}}},
		Owners:  map[Place]*Ownership{}, Ends: map[int32]int64{0: 0}, Committed: map[Place]int64{}, Poison: "bad-", RequestTimeout: 2 * time.Second,
		Braze: map[string]*History{"US": {Members: map[string]map[Identifier]bool{cohort: {}}}},
	}}
	h.Owners[Place{"g.us", 0}] = &Ownership{}
	return h
}

// log writes a change; its computed_time is ms unless late takes from it.
func (h *history) log(ms int, in bool, late int, users ...string) *history {
	people := make([]string, len(users))
	for i, u := range users {
		people[i] = fmt.Sprintf(`{"user_id":%q}`, u)
	}
	computed := at(ms - late).UnixMilli()
	return h.raw(ms, fmt.Sprintf(`{"cohort_id":%q,"in_cohort":%t,"computed_time":"%d.%03d","users":[%s]}`,
		cohort, in, computed/1000, computed%1000, strings.Join(people, ",")))
}

func (h *history) raw(ms int, value string) *history {
	h.Log = append(h.Log, Record{0, h.Ends[0], at(ms), []byte(value)})
	h.Ends[0]++
	return h
}

func (h *history) owner(ms int, member string) *history {
	o := h.Owners[Place{"g.us", 0}]
	l := Life{Generation: int32(len(o.Lives) + 1), Member: member, Began: at(ms)}
	if n := len(o.Commits); n > 0 {
		l.Start = o.Commits[n-1].Offset
	}
	o.Lives = append(o.Lives, l)
	return h
}

func (h *history) commit(ms int, offset int64) *history {
	o := h.Owners[Place{"g.us", 0}]
	o.Commits = append(o.Commits, Commit{at(ms), offset})
	h.Committed[Place{"g.us", 0}] = offset
	return h
}

// send is a request that lasts 10 ms and is answered so.
func (h *history) send(ms, status int, in bool, users ...string) *history {
	b := h.Braze["US"]
	r := Request{Seq: len(b.Requests) + 1, Came: at(ms), Over: at(ms + 10), Cohort: cohort, Worker: "w1", Status: status, Answered: true, Applied: status == 201}
	for _, u := range users {
		id := Identifier{"external_id", "", u}
		r.Ops = append(r.Ops, Op{Identifier: id, Cohort: cohort, Remove: !in})
		if r.Applied {
			b.Members[cohort][id] = in
			if !in {
				delete(b.Members[cohort], id)
			}
		}
	}
	b.Requests = append(b.Requests, r)
	return h
}

func (h *history) last() *Request { return &h.Braze["US"].Requests[len(h.Braze["US"].Requests)-1] }

func (h *history) letter(ms int, stage string, offset int64, users ...string) *history {
	l := Letter{Target: "US", Stage: stage, Offset: offset, Written: at(ms)}
	for _, u := range users {
		l.Identifiers = append(l.Identifiers, Identifier{"external_id", "", u})
	}
	h.Letters = append(h.Letters, l)
	return h
}

func (h *history) with(change func(*history)) *history {
	change(h)
	return h
}

func TestGoodHistoriesAreNotBlamed(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]*history{
		"nothing at all": begin(),
		"in and out": begin().owner(0, "a").log(10, true, 0, "u1").send(20, 201, true, "u1").commit(40, 1).
			log(50, false, 0, "u1").send(60, 201, false, "u1").commit(80, 2),
		"an older change is overtaken by one that holds the commit": begin().owner(0, "a").log(10, true, 0, "u1").log(20, false, 0, "u1").
			commit(30, 1).send(40, 201, false, "u1").commit(60, 2),
		"a request is repeated until it is taken": begin().owner(0, "a").log(10, true, 0, "u1").
			send(20, 503, true, "u1").send(40, 201, true, "u1").commit(60, 1),
		"a new owner repeats what was sent and not committed": begin().owner(0, "a").log(10, true, 0, "u1").log(20, false, 0, "u1").log(25, true, 0, "u1").
			send(30, 201, true, "u1").owner(5000, "b").send(5020, 201, true, "u1").commit(5100, 3),
		"older ones are sent again by a new owner": begin().owner(0, "a").log(10, true, 0, "u1").send(15, 201, true, "u1").
			log(30, false, 0, "u1").send(40, 201, false, "u1").
			owner(5000, "b").send(5010, 201, true, "u1").send(5030, 201, false, "u1").commit(5100, 2),
		"a late change is dropped": begin().owner(0, "a").log(10, true, 0, "u1").send(20, 201, true, "u1").
			log(50, false, 45, "u1").commit(60, 2),
		"a late change is as good as new to an owner who never saw the newer one": begin().owner(0, "a").log(10, true, 0, "u1").
			send(20, 201, true, "u1").commit(40, 1).owner(1000, "b").log(2000, false, 1995, "u1").send(2020, 201, false, "u1").commit(2050, 2),
		"poison is buried, twice": begin().owner(0, "a").log(10, true, 0, "bad-1", "u1").send(20, 400, true, "bad-1", "u1").
			send(40, 400, true, "bad-1").send(60, 201, true, "u1").letter(80, "deliver", 0, "bad-1").
			owner(5000, "b").letter(5080, "deliver", 0, "bad-1").send(5020, 201, true, "u1").commit(5100, 1),
		"what cannot be decoded is buried": begin().owner(0, "a").raw(10, `{"cohort`).letter(20, "decode", 0).commit(30, 1),
		"a tombstone is passed over":       begin().owner(0, "a").raw(10, "").commit(30, 1),
		"Braze learns late that a client has gone": begin().owner(0, "a").log(10, true, 0, "u1").send(20, 0, true, "u1").
			with(func(h *history) { h.last().Answered, h.last().Over = false, at(500) }).send(400, 201, true, "u1").commit(700, 1),
		"a frozen client's request ends with its deadline": begin().owner(0, "a").log(10, true, 0, "u1").send(20, 0, true, "u1").
			with(func(h *history) { h.last().Answered, h.last().Over = false, at(8000) }).owner(5000, "b").send(5100, 201, true, "u1").commit(5200, 1),
		"without owners a late change may end either way": begin().log(10, true, 0, "u1").send(20, 201, true, "u1").
			log(2000, false, 1995, "u1").send(2020, 201, false, "u1").commit(2050, 2).with(func(h *history) { h.Owners = nil }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Empty(t, Judge(h.Evidence).Differences)
		})
	}
}

func TestBadHistoriesAreBlamedForWhatTheyBreak(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]struct {
		h    *history
		rule string
		says string
	}{
		"a change is lost": {
			begin().owner(0, "a").log(10, true, 0, "u1").send(20, 201, true, "u1").commit(40, 1).
				with(func(h *history) { delete(h.Braze["US"].Members[cohort], u1) }),
			RuleMembership, "member: false",
		},
		"a member whom the log never named": {
			begin().with(func(h *history) { h.Braze["US"].Members[cohort][u1] = true }),
			RuleMembership, "not in the log",
		},
		"a late change wins over the newer one in the same life": {
			begin().owner(0, "a").log(10, true, 0, "u1").send(20, 201, true, "u1").log(50, false, 45, "u1").send(60, 201, false, "u1").commit(80, 2),
			RuleMembership, "member: false",
		},
		"and is sent after it": {
			begin().owner(0, "a").log(10, true, 0, "u1").send(20, 201, true, "u1").log(50, false, 45, "u1").send(60, 201, false, "u1").commit(80, 2),
			RuleOrder, "after a newer one",
		},
		"a commit before the answer": {
			begin().owner(0, "a").log(10, true, 0, "u1").commit(20, 1).send(200, 201, true, "u1"),
			RuleSettled, "was not settled when 1 was committed",
		},
		"a commit after a refusal": {
			begin().owner(0, "a").log(10, true, 0, "u1").send(20, 503, true, "u1").commit(40, 1).send(200, 201, true, "u1"),
			RuleSettled, "was not settled",
		},
		"a commit that rests on an operation sent before the change was made": {
			begin().owner(0, "a").log(10, true, 0, "u1").log(20, false, 0, "u1").log(100, true, 0, "u1").
				send(50, 201, true, "u1").commit(120, 3),
			RuleSettled, "0/1",
		},
		"a commit before the letter": {
			begin().owner(0, "a").log(10, true, 0, "bad-1").commit(20, 1).letter(500, "deliver", 0, "bad-1"),
			RuleSettled, "was not settled",
		},
		"a zombie repeats what was committed before": {
			begin().owner(0, "a").log(10, true, 0, "u1").send(20, 201, true, "u1").log(30, false, 0, "u1").send(40, 201, false, "u1").commit(60, 2).
				owner(5000, "b").send(5100, 201, true, "u1").send(5200, 201, false, "u1"),
			RuleOrder, "request 3",
		},
		"a zombie sends an old change after the new owner's newer one": {
			begin().owner(0, "a").log(10, true, 0, "u1").owner(5000, "b").log(5010, false, 0, "u1").send(5020, 201, false, "u1").
				send(5100, 201, true, "u1").log(5200, false, 0, "u1").send(5250, 201, false, "u1").commit(5300, 3),
			RuleOrder, "request 2",
		},
		"a request from nobody": {
			begin().log(10, true, 0, "u1").send(20, 201, true, "u1").owner(30, "a").commit(50, 1),
			RuleOrder, "before anybody owned",
		},
		"a request about nobody": {
			begin().owner(0, "a").send(20, 201, false, "u2"),
			RuleOrder, "not in the log",
		},
		"two requests of a cohort at once": {
			begin().owner(0, "a").log(10, true, 0, "u1", "u2").send(20, 201, true, "u1").with(func(h *history) { h.last().Over = at(400) }).
				send(200, 201, true, "u2").commit(500, 1),
			RuleFlight, "request 2",
		},
		"a second request long after one that was never answered came, and before it was over": {
			begin().owner(0, "a").log(10, true, 0, "u1").send(20, 0, true, "u1").with(func(h *history) { h.last().Answered, h.last().Over = false, at(1500) }).
				send(800, 201, true, "u1").commit(2000, 1),
			RuleFlight, "request 2",
		},
		"a group that has not come to the end": {
			begin().owner(0, "a").log(10, true, 0, "u1").send(20, 201, true, "u1"),
			RuleEnd, "0 is committed, the log ends at 1",
		},
		"a letter about somebody whom Braze takes": {
			begin().owner(0, "a").log(10, true, 0, "u1").send(20, 201, true, "u1").letter(30, "deliver", 0, "u1").commit(40, 1),
			RuleLetters, "Braze takes it",
		},
		"a letter about a place where that change is not": {
			begin().owner(0, "a").log(10, true, 0, "bad-1").letter(20, "deliver", 0, "bad-1").letter(30, "deliver", 7, "bad-1").commit(40, 1),
			RuleLetters, "which is not there",
		},
		"poison without a letter": {
			begin().owner(0, "a").log(10, true, 0, "bad-1").commit(40, 1),
			RuleLetters, "has no letter",
		},
		"poison as a member": {
			begin().owner(0, "a").log(10, true, 0, "bad-1").send(20, 201, true, "bad-1").letter(30, "deliver", 0, "bad-1").commit(80, 1),
			RuleMembership, "Braze refuses it",
		},
		"a record that cannot be decoded without a letter": {
			begin().owner(0, "a").raw(10, "{").commit(30, 1),
			RuleLetters, "0/0 cannot be decoded, and has no letter",
		},
		"a decoding letter about a good record": {
			begin().owner(0, "a").log(10, true, 0, "u1").send(20, 201, true, "u1").letter(30, "decode", 0).commit(40, 1),
			RuleLetters, "and it can",
		},
		"what the simulated Braze calls a violation": {
			begin().with(func(h *history) { h.Braze["US"].Violations = []string{"members of a cohort without a name"} }),
			RuleClient, "without a name",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := Judge(bad.h.Evidence).Differences
			require.True(t, slices.ContainsFunc(found, func(d Difference) bool { return d.Rule == bad.rule && strings.Contains(d.What, bad.says) }),
				"%+v", found)
		})
	}
}

func TestADifferenceTellsTheWholeStoryInOrder(t *testing.T) {
	t.Parallel()
	h := begin().owner(0, "worker-a").log(10, true, 0, "u1").commit(20, 1).send(200, 201, true, "u1")
	found := Judge(h.Evidence).Differences
	require.Len(t, found, 1)
	require.Equal(t, []string{
		"22:13:20.000  owner    generation 1, from offset 0, worker-a",
		"22:13:20.010  log      0/0 computed 1700000000010000 in=true",
		"22:13:20.020  commit   1",
		"22:13:20.200  request  1 of w1: in=true, status 201, applied true, until 22:13:20.210",
	}, found[0].Story)
}

func TestTheFirstIdentifierAndAttributesAreTakenAsConfigured(t *testing.T) {
	t.Parallel()
	h := begin().owner(0, "a")
	h.Targets[0].Attributes, h.Targets[0].First = true, true
	h.Targets[0].Rules = []Rule{{"user_properties.crm_id", "user_alias", "crm"}, {"user_id", "external_id", ""}}
	alias := Identifier{"user_alias", "crm", "C-1"}
	h.raw(10, `{"cohort_id":"c","in_cohort":true,"computed_time":"1692206763","users":[{"user_id":"u1","user_properties":{"crm_id":"C-1"}}]}`)
	h.Braze["US"].Requests = []Request{{Seq: 1, Came: at(20), Over: at(30), Applied: true, Answered: true, Ops: []Op{{Identifier: alias, Cohort: "cohort_c"}}}}
	h.Braze["US"].Members = map[string]map[Identifier]bool{"cohort_c": {alias: true}}
	h.commit(50, 1)
	verdict := Judge(h.Evidence)
	require.Empty(t, verdict.Differences)
	require.Equal(t, 1, verdict.Counts.Subjects, "nobody but the alias is meant")
}

func TestSecretsAreFoundInLogsAndLetters(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "w1.log"), []byte("key s3cr3t here"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.yaml"), []byte("s3cr3t"), 0o600))
	found, err := FindSecrets(dir, []Letter{{Offset: 4, Text: "s3cr3t"}, {Text: "fine"}}, []string{"other", "s3cr3t"})
	require.NoError(t, err)
	require.Len(t, found, 2)
	require.Equal(t, "secret 1 is in w1.log", found[0].What)
	require.Equal(t, "secret 1 is in the dead letter about 0/4", found[1].What)
}

func TestTheRequestLogIsReadAsTheSimulatedBrazeWritesIt(t *testing.T) {
	t.Parallel()
	h := &History{}
	require.NoError(t, h.readRequests(strings.NewReader(`{"event":"came","seq":1,"at":"2026-01-01T00:00:00Z","path":"/p","cohort":"c","user_agent":"partner-Cohortsync-Cohortsync/w2","operations":[{"kind":"device_id","label":"","value":"d","cohort":"c","remove":true,"error":"no"}]}
{"event":"came","seq":2,"at":"2026-01-01T00:00:01Z","path":"/p","cohort":"d","naming":true,"user_agent":"x/w1","operations":[]}
{"event":"over","seq":1,"at":"2026-01-01T00:00:02Z","status":201,"answered":true,"applied":true}
{"event":"over","seq":2,"at":"20`)))
	require.Equal(t, []Request{
		{
			Seq: 1, Came: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Over: time.Date(2026, 1, 1, 0, 0, 2, 0, time.UTC), Cohort: "c", Worker: "w2",
			Status: 201, Answered: true, Applied: true, Ops: []Op{{Identifier{"device_id", "", "d"}, "c", true, true}},
		},
		{Seq: 2, Came: time.Date(2026, 1, 1, 0, 0, 1, 0, time.UTC), Cohort: "d", Worker: "w1", Naming: true},
	}, h.Requests)
}
