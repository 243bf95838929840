package stream

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/prometheus/client_golang/prometheus"

	"cohortsync/internal/braze"
	"cohortsync/internal/braze/brazetest"
	"cohortsync/internal/catalog"
)

// newClientRig is a rig with the real client in front of a simulated Braze.
func newClientRig(t *testing.T, o brazetest.Options) (*rig, *brazetest.Server) {
	t.Helper()
	server := brazetest.New(o)
	random := lockedRand(rand.New(rand.NewPCG(1, 1)))
	throttle := braze.NewThrottle(catalog.Limit{Requests: 250_000, Per: time.Hour, Burst: 70}, braze.ThrottleOptions{Now: time.Now, Rand: random})
	client := braze.NewCohorts(braze.Options{
		Target: "Rig", Endpoint: "https://rest.iad-01.braze.com", Partner: "amplitude",
		Credentials:    func() (string, string, error) { return "partner-key", "data-key", nil },
		RequestTimeout: 15 * time.Second, Throttle: throttle, Transport: server.Transport(),
		NewBackOff: func() backoff.BackOff { return braze.NewBackOff(random) },
		Metrics:    braze.NewMetrics(prometheus.NewRegistry()), Version: "1", Now: time.Now,
	})
	return newRig(t, func(o *Options) {
		o.Destination, o.Namer, o.Throttle = client, client, throttle
		o.Target.MaxBatch, o.Target.MaxDeadLettersPerMinute = 1000, 1000
	}), server
}

func TestALockStopsTheSearchThroughAnotherCohortsBatch(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r, server := newClientRig(t, brazetest.Options{Bad: func(id catalog.Identifier) bool { return id.Value[0] == 'b' }})
		server.SetFaults(brazetest.Faults{Latency: 500 * time.Millisecond})
		server.Script(func(q brazetest.Request) brazetest.Fault {
			if q.Cohort == "c2" {
				return brazetest.Answer(401, `{"message":"Unauthorized access"}`)
			}
			return brazetest.Fault{}
		})
		stop := r.run()
		defer stop()
		var all []string
		for i := range 200 {
			all = append(all, fmt.Sprintf("%c%d", "gb"[i%2], i))
		}
		r.produce(0, "c1", true, time.Now(), all...)
		time.Sleep(5 * time.Second)
		r.produce(1, "c2", true, time.Now(), "x")
		for len(r.target.Status().Locked) == 0 {
			time.Sleep(100 * time.Millisecond)
		}
		locked := time.Now()
		time.Sleep(10 * time.Minute)
		sent := map[string]int{}
		for _, q := range server.History() {
			if q.ReceivedAt.After(locked) {
				sent[q.Cohort]++
			}
		}
		// One of each may have been admitted at the very moment of the lock.
		if sent["c1"] > 1 || sent["c2"] < 10 {
			t.Errorf("a locked target sent %v", sent)
		}
		server.Script(nil)
		r.settled()
		if f := r.funnel(); f.deadLettered != 100 || f.delivered != 101 {
			t.Errorf("the funnel is %+v", f)
		}
	})
}

// Microseconds in the place of milliseconds are a time in the year 55,000: it
// must neither win over all changes to come nor stop the target.
func TestARecordFromTheFarFutureIsTakenAsOfNow(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		r, server := newClientRig(t, brazetest.Options{})
		stop := r.run()
		defer stop()
		time.Sleep(24 * time.Hour)
		for i, stamp := range []time.Time{time.UnixMilli(time.Now().UnixMicro()), time.UnixMilli(-1)} {
			id := fmt.Sprintf("c%d", i+1)
			r.kafka.append(i, Record{Time: stamp, Value: fmt.Appendf(nil, `{"cohort_id":%q,"cohort_name":" ","in_cohort":true,"users":[{"user_id":"u"}]}`, id)})
			time.Sleep(time.Minute)
			if n := server.Count(id); n != 1 {
				t.Errorf("%s has %d members: %+v\n%s", id, n, r.target.Status(), r.logs)
			}
			if name := server.Name(id); name != id {
				t.Errorf("%s is named %q", id, name)
			}
			r.produce(i, id, false, time.Now(), "u")
			r.settled()
			if n := server.Count(id); n != 0 {
				t.Errorf("a change from the far future won over a newer one in %s", id)
			}
		}
	})
}

// Nobody is called at night for an outage that passes by itself: requests go on
// for as long as it lasts, at random moments and few of them, and all that was
// written meanwhile is there soon after.
func TestBrazeMayBeDownForAnHour(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const outage, longest = time.Hour, time.Minute
		r, server := newClientRig(t, brazetest.Options{})
		stop := r.run()
		defer stop()
		members := map[catalog.Identifier]bool{}
		change := func(cohort string, in bool, user string) (offset int64) {
			members[catalog.Identifier{Kind: catalog.ExternalID, Value: cohort + user}] = in
			return r.produce(int(cohort[1]-'1'), cohort, in, time.Now(), user)
		}
		change("c1", true, "u0")
		r.settled()

		down := time.Now()
		server.SetFaults(brazetest.Faults{ServerError: .4, Reset: .5, Silent: 1})
		firsts := map[int]int64{0: change("c1", true, "first"), 1: change("c2", true, "first")}
		for i := range int(outage / time.Minute) {
			change([]string{"c1", "c2"}[i%2], i%3 > 0, fmt.Sprint("u", i%20))
			time.Sleep(time.Minute)
			r.audit()
		}
		if got := r.kafka.committed(); !maps.Equal(got, firsts) {
			t.Errorf("committed %v, not up to the first change that was not delivered: %v", got, firsts)
		}
		mended := time.Now()
		var attempts []time.Time
		for _, q := range server.History() {
			if q.ReceivedAt.After(down) {
				attempts = append(attempts, q.ReceivedAt)
			}
		}
		server.SetFaults(brazetest.Faults{})
		r.settled()
		if took := time.Since(mended); took > 2*longest {
			t.Errorf("all was delivered only %v after the outage", took)
		}
		got := map[catalog.Identifier]bool{}
		for _, cohort := range []string{"c1", "c2"} {
			for id := range server.Members(cohort) {
				got[catalog.Identifier{Kind: id.Kind, Value: cohort + id.Value}] = true
			}
		}
		maps.DeleteFunc(members, func(_ catalog.Identifier, in bool) bool { return !in })
		if !maps.Equal(got, members) {
			t.Errorf("the members are %v, want %v", got, members)
		}
		if f := r.funnel(); f.consumed != 63 || f.delivered+f.superseded != 63 || len(r.kafka.written()) > 0 {
			t.Errorf("the funnel is %+v, with %d letters", f, len(r.kafka.written()))
		}

		// Each wait is uniform up to a minute, from the answer or its deadline.
		var short, long int
		for i, at := range append(attempts[1:], mended) {
			gap := at.Sub(attempts[i])
			if gap > longest+r.options.Target.RequestTimeout+time.Second {
				t.Errorf("nothing was tried for %v, %v into the outage", gap, attempts[i].Sub(down))
			}
			if i > 20 && gap < longest/4 {
				short++
			}
			if i > 20 && gap > longest/2 {
				long++
			}
		}
		if short < 5 || long < 5 || len(attempts) > 300 {
			t.Errorf("of %d waits %d were short and %d long", len(attempts), short, long)
		}
		if v := server.Violations(); len(v) > 0 {
			t.Error(v)
		}
	})
}
