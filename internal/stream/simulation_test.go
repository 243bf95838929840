package stream

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"cohortsync/internal/braze/brazetest"
	"cohortsync/internal/catalog"
)

// TestSimulation runs random schedules of changes, crashes, freezes, restarts
// and failures of Kafka and Braze in virtual time, with the real client in
// front of a simulated Braze, and holds each to what the log says:
//
//  1. When the log is quiet, each membership is the newest change in the log.
//  2. No offset is committed past an unsettled change.
//  3. No cohort has two requests in flight, whoever sends them, and an owner
//     sends every user's changes in the order of the log.
//  4. The funnel adds up at every moment.
//  5. Memory stays within its bound.
//
// The attributes API has no 3, and applies what it has accepted late and in any
// order.
//
// A failing schedule is printed with its seed and shrunk. More schedules:
// make sim N=100000.
func TestSimulation(t *testing.T) {
	t.Parallel()
	for _, api := range []catalog.API{catalog.Cohorts, catalog.Attributes} {
		for part := range simParts {
			t.Run(fmt.Sprintf("%s/part %d", api, part), func(t *testing.T) {
				t.Parallel()
				rapid.Check(t, func(rt *rapid.T) {
					rapid.SyncTest(rt, func(rt *rapid.T) { simulate(rt, api) })
				})
			})
		}
	}
}

// simParts is how many times as many schedules of each API are run as rapid's
// own default of 100, and how many processors can take part.
const simParts = 20

func simulate(t *rapid.T, api catalog.API) {
	setup := simSetup{
		api:        api,
		seed:       rapid.Uint64().Draw(t, "seed"),
		partitions: rapid.IntRange(1, 4).Draw(t, "partitions"),
		cohorts:    rapid.IntRange(1, 5).Draw(t, "cohorts"),
		users:      rapid.IntRange(1, 8).Draw(t, "users"),
		maxBatch:   rapid.IntRange(1, 5).Draw(t, "max batch"),
		maxMemory:  int64(rapid.SampledFrom([]int{68 << 10, 80 << 10, 1 << 20}).Draw(t, "max memory")),
		linger:     rapid.SampledFrom([]time.Duration{0, 100 * time.Millisecond, time.Second}).Draw(t, "linger"),
		late:       rapid.SampledFrom([]time.Duration{0, 5 * time.Millisecond, 3 * time.Second}).Draw(t, "late heartbeat"),
		bad:        map[string]bool{},
	}
	if rapid.Bool().Draw(t, "a user whom Braze refuses") {
		setup.bad["u0"] = true
	}
	workers := rapid.IntRange(1, 3).Draw(t, "workers")
	steps := rapid.SliceOfN(rapid.Custom(drawStep), 1, 40).Draw(t, "steps")

	// Virtual time begins with the year 2000, before which no computed_time is
	// believed.
	time.Sleep(24 * time.Hour)
	world := newSimWorld(setup)
	defer world.end()
	for range workers {
		world.start()
	}
	for _, s := range steps {
		world.take(s)
		world.check(t)
	}
	world.calm()
	for waited := time.Duration(0); !world.quiet(); waited += time.Second {
		time.Sleep(time.Second)
		world.check(t)
		if waited > 2*time.Hour {
			t.Fatalf("not quiet two hours after the last fault: commits %v\n%s", world.kafka.committed(), world.describe())
		}
	}
	time.Sleep(simReorderGuard) // Until then, Braze may apply what it has accepted.
	world.check(t)
	world.compare(t)
}

// step is one thing that happens in a schedule.
type step struct {
	What  string
	Which int
	Users []int
	In    bool
	// Late is how much earlier than now the change was computed.
	Late time.Duration
	For  time.Duration
}

func (s step) String() string {
	return fmt.Sprintf("{%s %d users=%v in=%v late=%v for=%v}", s.What, s.Which, s.Users, s.In, s.Late, s.For)
}

func drawStep(t *rapid.T) step {
	return step{
		What: rapid.SampledFrom([]string{
			"produce", "produce", "produce", "produce", "wait", "kill", "start", "stop", "freeze", "thaw",
			"kafka fails", "braze fails", "braze is slow", "braze refuses the key", "letters fail", "calm",
		}).Draw(t, "what"),
		Which: rapid.IntRange(0, 4).Draw(t, "which"),
		Users: rapid.SliceOfNDistinct(rapid.IntRange(0, 7), 1, 8, func(i int) int { return i }).Draw(t, "users"),
		In:    rapid.Bool().Draw(t, "in"),
		Late:  rapid.SampledFrom([]time.Duration{0, 0, 0, 5 * time.Second, time.Minute}).Draw(t, "late"),
		For: rapid.SampledFrom([]time.Duration{
			0, 0, 10 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second, 20 * time.Second, 2 * time.Minute,
		}).Draw(t, "for"),
	}
}

func newSimWorld(setup simSetup) *simWorld {
	world := &simWorld{
		setup: setup, kafka: newSimKafka(setup.partitions, simTiming(), setup.seed),
		newest: make(map[simUser]simChange), late: make(map[simUser]bool),
		log: make(map[simUser][]simChange), sent: make(map[simOwned]int),
	}
	world.braze = brazetest.New(brazetest.Options{
		PartnerKey: "partner-key", APIKey: "data-key", Seed: setup.seed,
		Bad:         func(id catalog.Identifier) bool { return setup.bad[id.Value] },
		ApplyWithin: simReorderGuard,
	})
	world.braze.SetFaults(brazetest.Faults{Latency: 20 * time.Millisecond})
	world.kafka.onCommit = world.committed
	return world
}

// take carries out one step.
func (world *simWorld) take(s step) {
	alive := world.alive()
	var w *simWorker
	if len(alive) > 0 {
		w = alive[s.Which%len(alive)]
	}
	switch s.What {
	case "produce":
		users := make([]string, len(s.Users))
		for i, u := range s.Users {
			users[i] = fmt.Sprintf("u%d", u%world.setup.users)
		}
		world.produce(s.Which%world.setup.cohorts, s.In, time.Now().Add(-s.Late), users...)
	case "kill":
		if w != nil {
			w.kill()
		}
	case "start":
		if len(alive) < 4 {
			world.start()
		}
	case "stop":
		if w != nil {
			w.stop()
		}
	case "freeze":
		if w != nil {
			w.freeze()
		}
	case "thaw":
		if w != nil {
			w.unfreeze()
		}
	case "kafka fails":
		world.kafka.setFaults(simKafkaFaults{fetch: .2, commitLost: .3, commitUnanswered: .2})
	case "letters fail":
		world.kafka.setFaults(simKafkaFaults{lettersDown: true})
	case "braze fails":
		world.braze.SetFaults(brazetest.Faults{
			Latency: 20 * time.Millisecond, ServerError: .2, AppliedThenLost: .2, Limited: .1, Locked: .1, Reset: .1,
		})
	case "braze is slow":
		world.braze.SetFaults(brazetest.Faults{Latency: 16 * time.Second, AppliedThenLost: .3})
	case "braze refuses the key":
		world.braze.SetKeys("partner-key", "another-key")
	case "calm":
		world.calmFaults()
	}
	time.Sleep(s.For)
}

func (world *simWorld) calmFaults() {
	world.kafka.setFaults(simKafkaFaults{})
	world.braze.SetFaults(brazetest.Faults{Latency: 20 * time.Millisecond})
	world.braze.SetKeys("partner-key", "data-key")
}

// calm ends all faults and sees to it that somebody works.
func (world *simWorld) calm() {
	world.calmFaults()
	for _, w := range world.workers {
		w.unfreeze()
	}
	if len(world.alive()) == 0 {
		world.start()
	}
	time.Sleep(time.Minute)
	if len(world.alive()) == 0 {
		world.start() // The last one had been told to stop.
	}
}

// quiet says that all of the log is settled and committed.
func (world *simWorld) quiet() bool { return world.kafka.drained() }

// check holds the schedule to what is true at every moment.
func (world *simWorld) check(t *rapid.T) {
	for _, w := range world.alive() {
		if err := w.target.audit(); err != nil {
			t.Fatalf("worker %d: %v", w.number, err)
		}
	}
	for _, v := range world.braze.Violations() {
		t.Fatalf("Braze saw what must never be: %v\n%s", v, world.describe())
	}
	world.mu.Lock()
	defer world.mu.Unlock()
	if len(world.problems) > 0 {
		t.Fatalf("%s\n(%d problems in all)", world.problems[0], len(world.problems))
	}
}

// compare holds Braze's membership to the newest changes in the log. Users of
// whom an older change came late count only when one feed has seen it all: its
// memory dies with it.
func (world *simWorld) compare(t *rapid.T) {
	for key, newest := range world.newest {
		if world.late[key] && world.kafka.generations() > 1 {
			continue
		}
		id := catalog.Identifier{Kind: catalog.ExternalID, Value: key.user}
		want := newest.in && !world.setup.bad[key.user]
		if got := world.braze.Members(world.setup.key(key.cohort))[id]; got != want {
			t.Fatalf("%s in %s: Braze says %v, the log says %v\n%s", key.user, key.cohort, got, want, world.describe())
		}
	}
	for _, l := range world.kafka.written() {
		if !strings.Contains(headersOf(l), `"value":"u0"`) {
			t.Fatalf("a dead letter about nobody at fault: %s", headersOf(l))
		}
	}
}

func (world *simWorld) describe() string {
	var b strings.Builder
	for _, h := range world.braze.History() {
		fmt.Fprintf(&b, "%+v\n", h)
	}
	for _, w := range world.workers {
		fmt.Fprintf(&b, "worker %d dead=%v frozen=%v %+v\n", w.number, w.dead.Load(), w.frozen(), w.target.Status())
	}
	return b.String()
}

// end stops everything, so that the bubble has no goroutine left.
func (world *simWorld) end() {
	for _, w := range world.workers {
		w.unfreeze()
		w.stop()
	}
	world.running.Wait()
}
