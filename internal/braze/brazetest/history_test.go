package brazetest

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"cohortsync/internal/catalog"
)

func TestABoundedHistoryKeepsTheNewest(t *testing.T) {
	t.Parallel()
	server := New(Options{APIKey: "s", HistoryLimit: 3, HistoryOps: 1, OperationLimit: 2})
	require.Empty(t, server.History())
	for i := range 8 {
		_, _ = told(t, server, attributes(object("u", fmt.Sprintf(`"a":%v`, i%3 == 0)), object(fmt.Sprintf("u%d", i), `"a":true`)))
		newest := server.Newest(1)
		require.Equal(t, i+1, newest[0].Seq)
		require.Equal(t, "a", newest[0].Cohort)
		require.Len(t, newest[0].Ops, 1, "one of two operations is kept")
		require.Equal(t, 2, newest[0].Adds+newest[0].Removes, "and both are counted")
		require.Len(t, server.History(), min(i+1, 3))
	}
	history := server.History()
	require.Equal(t, [3]int{6, 7, 8}, [3]int{history[0].Seq, history[1].Seq, history[2].Seq})
	require.Equal(t, history[1:], server.Newest(2))
	require.Equal(t, history, server.Newest(100))
	ops := server.Operations("a", external("u"))
	require.Equal(t, [2]int{7, 8}, [2]int{ops[0].Seq, ops[1].Seq}, "the newest operations are kept, the oldest first")
	require.Equal(t, [2]bool{false, true}, [2]bool{ops[0].Remove, ops[1].Remove})
}

func TestViolationsAreBoundedAndCounted(t *testing.T) {
	t.Parallel()
	server := New(Options{APIKey: "s", HistoryLimit: 5})
	for range 100 {
		_, _ = told(t, server, attributes(`{"external_id":"u","a":true}`))
	}
	require.Equal(t, 100, server.Counters().Violations)
	kept := server.Violations()
	require.GreaterOrEqual(t, len(kept), 5)
	require.LessOrEqual(t, len(kept), 10)
	require.Contains(t, kept[len(kept)-1], "request 100 at")
}

// What Braze refuses must leave nothing behind but its place in the history.
func TestRefusedRequestsAreForgotten(t *testing.T) {
	t.Parallel()
	server := New(Options{APIKey: "s", HistoryLimit: 1})
	for i := range 50 {
		_, _, err := trackAs(t.Context(), t, server.Transport(), "http://braze", "Bearer x", attributes(object(fmt.Sprint(i), fmt.Sprintf(`"a%d":true`, i))))
		require.NoError(t, err)
		_, _, err = post(t.Context(), t, server.Transport(), "http://braze", "/users",
			strings.NewReplacer(`"c"`, fmt.Sprintf(`"c%d"`, i), `"s"`, `"x"`).Replace(members(`"a"`)))
		require.NoError(t, err)
	}
	require.Empty(t, server.cohorts)
	require.Empty(t, server.labels)
	require.Zero(t, server.Counters().Identifiers)
}

// It measures the heap, so it does not run beside others.
func TestWhatIsRememberedDoesNotKeepTheBodiesItCameIn(t *testing.T) {
	server := New(Options{APIKey: "s", HistoryLimit: 1000, HistoryOps: 1})
	before := heapInUse()
	padding := strings.Repeat(" ", 1<<20)
	for i := range 100 {
		_, _ = told(t, server, attributes(object(fmt.Sprint(i), `"a":true`))+padding)
	}
	require.Less(t, heapInUse()-before, int64(20<<20), "a hundred requests of a megabyte")
	require.Equal(t, 100, server.Count("a"))
}

func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

func TestCountersCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := refusing("bad")
		o.ApplyWithin = time.Minute
		server := New(o)
		_, _ = told(t, server, attributes(object("u", `"a":true`), object("v", `"a":false`), object("bad", `"a":true`)))
		_, _, err := post(t.Context(), t, server.Transport(), "http://braze", "", naming)
		require.NoError(t, err)
		_, _, err = post(t.Context(), t, server.Transport(), "http://braze", "/elsewhere", naming)
		require.NoError(t, err)
		server.SetFaults(Faults{Reset: 1})
		_, _, err = post(t.Context(), t, server.Transport(), "http://braze", "/users", members(`"a"`))
		require.Error(t, err)
		server.SetFaults(Faults{Latency: time.Second})
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _, _ = post(t.Context(), t, server.Transport(), "http://braze", "/users", members(`"a"`))
		}()
		synctest.Wait()
		want := Counters{
			Requests: map[string]map[int]int{"users/track": {201: 1}, "cohorts": {201: 1}, "other": {404: 1}, "cohorts/users": {0: 1}},
			InFlight: 1, Accepted: 2, Refused: 1, Due: 2, Identifiers: 3,
		}
		require.Equal(t, want, server.Counters())
		<-done
		time.Sleep(time.Minute)
		want.InFlight, want.Due, want.Accepted, want.Members = 0, 0, 3, 2
		want.Requests["cohorts/users"][201] = 1
		require.Equal(t, want, server.Counters())
	})
}

func TestResetForgetsAllButKeysAndFaults(t *testing.T) {
	t.Parallel()
	server := New(Options{APIKey: "s", TrackLimit: 2, ApplyWithin: time.Hour})
	server.SetFaults(Faults{ServerError: 1})
	server.Script(func(Request) Fault { return Fault{Kind: PlainErrors} })
	_, _ = told(t, server, attributes(object("u", `"a":true`)))
	_, _ = told(t, server, attributes(`{"user_alias":{"alias_name":"n","alias_label":"l"},"a":true}`))
	status, _ := told(t, server, attributes())
	require.NotEqual(t, http.StatusCreated, status)
	server.Reset()
	require.Empty(t, server.Cohorts())
	require.Empty(t, server.Find("n"))
	require.Empty(t, server.Accepted("a"))
	require.Empty(t, server.History())
	require.Empty(t, server.Violations())
	require.Equal(t, Counters{Requests: map[string]map[int]int{}}, server.Counters())
	require.Equal(t, Faults{ServerError: 1}, server.Faults())
	res, _, err := trackAs(t.Context(), t, server.Transport(), "http://braze", "Bearer x", attributes())
	require.NoError(t, err)
	require.Equal(t, http.StatusUnauthorized, res.StatusCode, "the key stays, and the limit begins anew")
	require.Equal(t, 4, server.History()[0].Seq, "the numbers of requests go on")
}

func TestAResetAmidARequestHarmsNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := New(Options{APIKey: "s"})
		server.SetFaults(Faults{Latency: time.Second})
		done := make(chan int)
		go func() {
			status, _ := told(t, server, attributes(object("u", `"a":true`)))
			done <- status
		}()
		synctest.Wait()
		server.Reset()
		require.Equal(t, http.StatusCreated, <-done)
		require.Empty(t, server.Cohorts(), "it is forgotten with the rest")
		require.Zero(t, server.Counters().InFlight)
		_, _ = told(t, server, attributes(object("u", `"a":true`)))
		require.Equal(t, 1, server.Count("a"))
	})
}

func TestFindTellsHowAUserStands(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := New(Options{APIKey: "s", ApplyWithin: time.Second})
		_, _, err := post(t.Context(), t, server.Transport(), "http://braze", "/users",
			keys+`"cohort_changes":[{"user_ids":["u"],"device_ids":["u"],"aliases":[{"alias_name":"u","alias_label":"l"},{"alias_name":"v","alias_label":"m"}]}]}`)
		require.NoError(t, err)
		now := time.Now()
		_, _ = told(t, server, attributes(object("u", `"a":true`)))
		id := external("u")
		device := catalog.Identifier{Kind: catalog.DeviceID, Value: "u"}
		alias := catalog.Identifier{Kind: catalog.UserAlias, Label: "l", Value: "u"}
		applied := []Operation{{Seq: 1, At: now}}
		found := server.Find("u")
		for i := range found {
			for j := range found[i].Operations {
				require.True(t, found[i].Operations[j].At.Equal(now))
				found[i].Operations[j].At = now
			}
		}
		require.Equal(t, []Standing{
			{Cohort: "a", Identifier: id, Accepted: true, Operations: []Operation{}},
			{Cohort: "c", Identifier: id, Member: true, Accepted: true, Operations: applied},
			{Cohort: "c", Identifier: device, Member: true, Accepted: true, Operations: applied},
			{Cohort: "c", Identifier: alias, Member: true, Accepted: true, Operations: applied},
		}, found)
		require.Empty(t, server.Find("stranger"))
		require.Equal(t, []catalog.Identifier{id, device, alias, {Kind: catalog.UserAlias, Label: "m", Value: "v"}}, server.List("c"))
		require.Empty(t, server.List("none"))
		require.Len(t, server.cohorts, 2, "who looks leaves nothing behind")
	})
}
