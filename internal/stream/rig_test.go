package stream

import (
	"bytes"
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/prometheus/client_golang/prometheus"

	"cohortsync/internal/braze"
	"cohortsync/internal/catalog"
	"cohortsync/internal/event"
)

// rig runs one target against a simulated Kafka and a scripted Braze, in
// virtual time.
type rig struct {
	t        *testing.T
	kafka    *simKafka
	braze    *scriptedBraze
	worker   *simWorker
	target   *Target
	registry *prometheus.Registry
	throttle *openThrottle
	logs     *syncBuffer
	options  Options
}

// newRig prepares a rig; change alters the options before the target is made.
func newRig(t *testing.T, change func(*Options)) *rig {
	t.Helper()
	r := &rig{
		t: t, kafka: newSimKafka(2, simTiming(), 1), braze: &scriptedBraze{}, throttle: &openThrottle{},
		registry: prometheus.NewRegistry(), logs: &syncBuffer{}, worker: &simWorker{number: 1, done: make(chan struct{})},
	}
	log := simLog{r.kafka, r.worker}
	random := lockedRand(rand.New(rand.NewPCG(1, 1)))
	r.options = Options{
		Target: catalog.Target{
			Name: "Rig", Slug: "rig", Identifiers: []catalog.Rule{{From: "user_id", To: catalog.ExternalID}},
			Send: catalog.SendAll, RequestTimeout: 15 * time.Second, MaxBatch: 3, MaxInFlight: 64, MaxDeadLettersPerMinute: 10,
		},
		Routes: catalog.NewRoutes("Rig", []catalog.Sync{
			{Name: "one", CohortID: "c1", Target: "Rig", Linger: time.Second},
			{Name: "two", CohortID: "c2", Target: "Rig", Linger: time.Second},
		}),
		Topic: "changes", Group: "cohortsync.rig", Timing: simTiming(), LateWindow: 10 * time.Minute, MaxMemory: 1 << 20,
		Membership: &simMember{simLog: log}, Log: log, Source: log, Letters: simLetters{log},
		Destination: r.braze, Namer: r.braze, Throttle: r.throttle,
		NewBackOff: func() backoff.BackOff { return braze.NewBackOff(random) },
		Now:        time.Now, Logger: slog.New(slog.NewTextHandler(r.logs, nil)),
		Metrics: NewMetrics(r.registry), Beats: NewBeats(time.Now),
	}
	if change != nil {
		change(&r.options)
	}
	target, err := NewTarget(r.options)
	if err != nil {
		t.Fatal(err)
	}
	r.target, r.worker.target = target, target
	return r
}

// run starts the target and returns a function that stops it and waits.
func (r *rig) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	r.worker.stop = cancel
	go func() {
		defer close(r.worker.done)
		if err := r.target.Run(ctx); err != nil {
			r.t.Errorf("the target ended: %v", err)
		}
	}()
	return func() {
		cancel()
		<-r.worker.done
	}
}

func (r *rig) produce(partition int, cohort string, in bool, at time.Time, users ...string) int64 {
	p := event.Payload{CohortID: cohort, CohortName: "Name of " + cohort, InCohort: in, ComputedTime: at}
	for _, u := range users {
		p.Users = append(p.Users, event.Member{UserID: u})
	}
	return r.kafka.produce(partition, p.AppendJSON(nil))
}

// settled waits in virtual time until all that was produced is committed.
func (r *rig) settled() {
	r.t.Helper()
	for range 3600 {
		if r.kafka.drained() {
			return
		}
		r.audit()
		time.Sleep(time.Second)
	}
	r.t.Fatalf("not settled within an hour: %+v\n%s", r.target.Status(), r.logs)
}

func (r *rig) audit() {
	r.t.Helper()
	if err := r.target.audit(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) funnel() funnel {
	r.target.mu.Lock()
	defer r.target.mu.Unlock()
	return r.target.funnel.clone()
}

// scriptedBraze answers as it is told and keeps what it was asked.
type scriptedBraze struct {
	mu sync.Mutex
	// deliver and name answer a request; nil means success at once.
	deliver func(ctx context.Context, b braze.Batch) braze.Report
	name    func(n braze.Naming) error

	batches []sentBatch
	names   []braze.Naming
}

type sentBatch struct {
	at time.Time
	braze.Batch
}

func (s *scriptedBraze) Name(ctx context.Context, n braze.Naming, admit braze.Admit) error {
	if err := admit(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	s.names = append(s.names, n)
	name := s.name
	s.mu.Unlock()
	if name == nil {
		return nil
	}
	return name(n)
}

func (s *scriptedBraze) Deliver(ctx context.Context, b braze.Batch, admit braze.Admit) braze.Report {
	report := braze.Report{Outcomes: make([]braze.Outcome, len(b.Items)), Faults: map[int]braze.Fault{}}
	if err := admit(ctx); err != nil {
		report.Err = err
		return report
	}
	s.mu.Lock()
	kept := b
	kept.Items = slices.Clone(b.Items)
	s.batches = append(s.batches, sentBatch{time.Now(), kept})
	deliver := s.deliver
	s.mu.Unlock()
	if deliver != nil {
		return deliver(ctx, b)
	}
	for i := range report.Outcomes {
		report.Outcomes[i] = braze.Delivered
	}
	return report
}

// named returns the naming requests so far.
func (s *scriptedBraze) named() []braze.Naming {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.names)
}

// script replaces the answers.
func (s *scriptedBraze) script(deliver func(ctx context.Context, b braze.Batch) braze.Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deliver = deliver
}

func (s *scriptedBraze) sent() []sentBatch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.batches)
}

// failing answers every batch with an error of that class.
func failing(class braze.Class, status int) func(context.Context, braze.Batch) braze.Report {
	return func(_ context.Context, b braze.Batch) braze.Report {
		return braze.Report{
			Outcomes: make([]braze.Outcome, len(b.Items)),
			Err:      &braze.Error{Class: class, Status: status, Message: "scripted"},
		}
	}
}

// blaming finds those users at fault and delivers the rest.
func blaming(users ...string) func(context.Context, braze.Batch) braze.Report {
	return func(_ context.Context, b braze.Batch) braze.Report {
		r := braze.Report{Outcomes: make([]braze.Outcome, len(b.Items)), Faults: map[int]braze.Fault{}}
		for i, it := range b.Items {
			r.Outcomes[i] = braze.Delivered
			if slices.Contains(users, it.Identifier.Value) {
				r.Outcomes[i] = braze.AtFault
				r.Faults[i] = braze.Fault{Status: 400, Message: "scripted fault"}
			}
		}
		return r
	}
}

// openThrottle lets everything through, but remembers the share.
type openThrottle struct {
	mu           sync.Mutex
	owned, total int
}

func (*openThrottle) Take() time.Duration            { return 0 }
func (*openThrottle) Wait(ctx context.Context) error { return ctx.Err() }
func (o *openThrottle) Share(_ string, owned, total int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.owned, o.total = owned, total
}

// syncBuffer collects logs.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// users lists a batch as "+u1 -u2".
func users(b braze.Batch) string {
	var all []string
	for _, it := range b.Items {
		sign := "+"
		if it.Remove {
			sign = "-"
		}
		all = append(all, sign+it.Identifier.Value)
	}
	return strings.Join(all, " ")
}

// inBubble runs a test in virtual time.
func inBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}
