package stream

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/prometheus/client_golang/prometheus"

	"cohortsync/internal/braze"
	"cohortsync/internal/braze/brazetest"
	"cohortsync/internal/catalog"
	"cohortsync/internal/event"
)

// simWorld is everything of one simulated schedule: a topic, a Braze, some
// workers, and the model that says how it has to end.
type simWorld struct {
	kafka   *simKafka
	braze   *brazetest.Server
	setup   simSetup
	workers []*simWorker
	started int
	running sync.WaitGroup

	mu sync.Mutex
	// newest is the newest change of every (cohort, user) in the log.
	newest map[simUser]simChange
	// late holds the users of whom an older change came after a newer one.
	late map[simUser]bool
	// log holds all changes of a user in the log's order, and sent how far each
	// owner is with it.
	log      map[simUser][]simChange
	sent     map[simOwned]int
	problems []string
}

const (
	// simAttribute begins the names of attributes.
	simAttribute = "in_"
	// simReorderGuard is within how long Braze applies what it has accepted, and
	// how long a user is left alone.
	simReorderGuard = time.Second
)

// key is what Braze keeps a cohort's members under.
func (s *simSetup) key(cohort string) string {
	if s.api == catalog.Attributes {
		return simAttribute + cohort
	}
	return cohort
}

type simUser struct{ cohort, user string }

// simChange is one change in the log.
type simChange struct {
	partition int
	offset    int64
	time      int64
	in        bool
}

// simOwned is a user in the hands of one owner of their partition.
type simOwned struct {
	owner *generation
	simUser
}

// simSetup is what a schedule is run with.
type simSetup struct {
	api        catalog.API
	seed       uint64
	partitions int
	cohorts    int
	users      int
	maxBatch   int
	maxMemory  int64
	linger     time.Duration
	// late is how long after a thaw a worker's first heartbeat is answered.
	late time.Duration
	bad  map[string]bool
}

const simRequestTimeout = 15 * time.Second

// simThrottle freezes with its worker, so that a request may be about to leave
// when the process stops.
type simThrottle struct {
	*braze.Throttle
	w *simWorker
}

func (s simThrottle) Take() time.Duration {
	if s.w.gate(context.Background()) != nil {
		return time.Second
	}
	return s.Throttle.Take()
}

// simDestination takes a moment between the launch and the request, and
// freezes with its worker before the lease is asked for.
type simDestination struct {
	Destination
	world *simWorld
	w     *simWorker
}

func (d simDestination) Deliver(ctx context.Context, b braze.Batch, admit braze.Admit) braze.Report {
	time.Sleep(30 * time.Millisecond)
	_ = d.w.gate(context.Background())
	d.world.leaves(d.w, b)
	return d.Destination.Deliver(ctx, b, admit)
}

// leaves notes what an owner is about to send: for every user a change at or
// behind the last one sent, in the order of the log.
func (world *simWorld) leaves(w *simWorker, b braze.Batch) {
	w.target.mu.Lock()
	owner := w.target.gen
	w.target.mu.Unlock()
	world.mu.Lock()
	defer world.mu.Unlock()
	for _, item := range b.Items {
		key := simUser{b.CohortID, item.Identifier.Value}
		if world.late[key] {
			continue // The late memory may have forgotten the newer change.
		}
		changes, at := world.log[key], world.sent[simOwned{owner, key}]
		for at < len(changes) && changes[at].in == item.Remove {
			at++
		}
		if at == len(changes) {
			world.problems = append(world.problems, fmt.Sprintf("worker %d goes back in the log of %v: %+v", w.number, key, changes))
			return
		}
		world.sent[simOwned{owner, key}] = at
	}
}

// committed holds an accepted commit to the log: Braze has every user as the
// newest change before it says, unless a newer one is still to come.
func (world *simWorld) committed(offsets map[int]int64) {
	world.mu.Lock()
	defer world.mu.Unlock()
	for key, newest := range world.newest {
		if newest.offset >= offsets[newest.partition] || world.late[key] || world.setup.bad[key.user] {
			continue
		}
		id := catalog.Identifier{Kind: catalog.ExternalID, Value: key.user}
		if world.braze.Accepted(world.setup.key(key.cohort))[id] != newest.in {
			world.problems = append(world.problems, fmt.Sprintf("%v is committed past the unsettled %v: %+v", offsets, key, newest))
		}
	}
}

func (world *simWorld) targetOptions(w *simWorker) Options {
	setup := world.setup
	target := catalog.Target{
		Name: "Sim", Slug: "sim", Endpoint: "https://rest.iad-01.braze.com", API: setup.api, Partner: "amplitude",
		Identifiers: []catalog.Rule{{From: "user_id", To: catalog.ExternalID}}, Send: catalog.SendAll,
		RequestTimeout: simRequestTimeout, RateLimit: catalog.Limit{Requests: 250000, Per: time.Hour, Burst: 70},
		MaxBatch: setup.maxBatch, MaxInFlight: 64, MaxDeadLettersPerMinute: 1000,
	}
	rng := rand.New(rand.NewPCG(setup.seed, uint64(w.number)))
	random := lockedRand(rng)
	logger := slog.New(slog.DiscardHandler)
	registry := prometheus.NewRegistry()
	throttle := braze.NewThrottle(target.RateLimit, braze.ThrottleOptions{Now: time.Now, Rand: random})
	newBackOff := func() backoff.BackOff { return braze.NewBackOff(random) }
	options := braze.Options{
		Target: target.Name, Endpoint: target.Endpoint, Partner: target.Partner,
		Credentials:    func() (string, string, error) { return "partner-key", "data-key", nil },
		RequestTimeout: simRequestTimeout, Throttle: throttle, Transport: w,
		NewBackOff: newBackOff, Metrics: braze.NewMetrics(registry), Version: "test", Now: time.Now, Logger: logger,
	}
	var destination Destination
	var namer Namer
	if setup.api == catalog.Attributes {
		target.Attribute, target.ReorderGuard = simAttribute+catalog.CohortIDPlaceholder, simReorderGuard
		destination = braze.NewAttributes(options)
	} else {
		cohorts := braze.NewCohorts(options)
		destination, namer = cohorts, cohorts
	}
	log := simLog{world.kafka, w}
	return Options{
		Target: target,
		Routes: catalog.NewRoutes(target.Name, []catalog.Sync{{Name: "all", CohortID: catalog.Wildcard, Target: target.Name, Linger: setup.linger}}),
		Topic:  "changes", Group: "cohortsync.sim", Timing: simTiming(), LateWindow: 10 * time.Hour, MaxMemory: setup.maxMemory,
		Membership: &simMember{simLog: log}, Log: log, Source: log, Letters: simLetters{log},
		Destination: simDestination{destination, world, w}, Namer: namer, Throttle: simThrottle{throttle, w},
		NewBackOff: newBackOff,
		Now:        time.Now, Logger: logger, Metrics: NewMetrics(registry), Beats: NewBeats(time.Now),
	}
}

// start runs one more worker.
func (world *simWorld) start() {
	world.started++
	ctx, cancel := context.WithCancel(context.Background())
	w := &simWorker{number: world.started, late: world.setup.late, wire: world.braze.Transport(), stop: cancel, done: make(chan struct{})}
	target, err := NewTarget(world.targetOptions(w))
	if err != nil {
		panic(err)
	}
	w.target = target
	world.workers = append(world.workers, w)
	world.running.Go(func() {
		defer close(w.done)
		if err := target.Run(ctx); err != nil {
			world.problem("worker %d: %v", w.number, err)
		}
	})
}

// alive returns the workers that neither are dead nor have been stopped.
func (world *simWorld) alive() []*simWorker {
	return slices.DeleteFunc(slices.Clone(world.workers), func(w *simWorker) bool {
		select {
		case <-w.done:
			return true
		default:
			return w.dead.Load()
		}
	})
}

func (world *simWorld) problem(format string, args ...any) {
	world.mu.Lock()
	defer world.mu.Unlock()
	world.problems = append(world.problems, fmt.Sprintf(format, args...))
}

// produce writes one change of some users to the log, computed at a time.
func (world *simWorld) produce(cohort int, in bool, at time.Time, users ...string) {
	id := fmt.Sprintf("c%d", cohort)
	payload := event.Payload{CohortID: id, CohortName: "Cohort " + id, InCohort: in, ComputedTime: at}
	for _, u := range users {
		payload.Users = append(payload.Users, event.Member{UserID: u})
	}
	partition := cohort % world.setup.partitions
	offset := world.kafka.produce(partition, payload.AppendJSON(nil))
	world.mu.Lock()
	defer world.mu.Unlock()
	ch := simChange{partition: partition, time: at.UnixMicro(), offset: offset, in: in}
	for _, u := range users {
		key := simUser{id, u}
		world.log[key] = append(world.log[key], ch)
		// The model has an order of its own, so that it notices a wrong one: the
		// log's, but for what was computed earlier.
		if newest, ok := world.newest[key]; ok && ch.time < newest.time {
			world.late[key] = true
			continue
		}
		world.newest[key] = ch
	}
}
