package stream

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/prometheus/client_golang/prometheus"

	"cohortsync/internal/braze"
	"cohortsync/internal/catalog"
	"cohortsync/internal/event"
)

// bench is one feed of one cohort, driven by hand and by a clock of its own.
// Braze takes everything at once, so what is measured is the heart alone.
type bench struct {
	b      *testing.B
	target *Target
	now    time.Time
	feed   *feed
	event  event.Event
	offset int64
}

func newBench(b *testing.B, api catalog.API) *bench {
	h := &bench{b: b, now: time.Unix(1692206800, 0)}
	log := simLog{newSimKafka(1, simTiming(), 1), &simWorker{number: 1}}
	random := lockedRand(rand.New(rand.NewPCG(1, 1)))
	o := Options{
		Target: catalog.Target{
			Name: "Bench", Slug: "bench", API: api, Identifiers: []catalog.Rule{{From: "user_id", To: catalog.ExternalID}},
			Send: catalog.SendAll, RequestTimeout: 15 * time.Second, MaxBatch: api.MaxBatch(), MaxInFlight: 64, MaxDeadLettersPerMinute: 10,
		},
		Routes: catalog.NewRoutes("Bench", []catalog.Sync{{Name: "one", CohortID: "c1", Target: "Bench"}}),
		Topic:  "changes", Group: "cohortsync.bench", Timing: simTiming(), LateWindow: 10 * time.Minute, MaxMemory: 1 << 30,
		Log: log, Destination: &obligingBraze{make([]braze.Outcome, api.MaxBatch())}, Throttle: &openThrottle{},
		NewBackOff: func() backoff.BackOff { return braze.NewBackOff(random) },
		Now:        func() time.Time { return h.now }, Logger: slog.New(slog.DiscardHandler),
		Metrics: NewMetrics(prometheus.NewRegistry()), Beats: NewBeats(time.Now),
	}
	if api == catalog.Attributes {
		o.Target.Attribute, o.Target.ReorderGuard = "cohort_{cohort_id}", time.Second
	}
	target, err := NewTarget(o)
	if err != nil {
		b.Fatal(err)
	}
	h.target = target
	h.event = event.Event{CohortID: []byte("c1"), InCohort: true, Time: h.now.UnixMicro()}
	h.renew()
	return h
}

// renew begins a generation that has nothing pending.
func (h *bench) renew() {
	t := h.target
	g := &generation{
		t: t, kick: make(chan struct{}, 1), feeds: make(map[int]*feed), turns: make(map[string]*turn),
		schedule: newSchedule(t.Options.Target.MaxBatch), lease: newLease(t.Timing, t.Options.Target.RequestTimeout, h.now),
		memory: newMemory(t.MaxMemory), store: newStore(), cooling: cooling{guard: int64(t.Options.Target.ReorderGuard)},
	}
	h.feed = newFeed(g, 0, start{})
	g.feeds[0] = h.feed
}

// stage takes in one record of these users, as feed.record does after decoding.
func (h *bench) stage(users []event.User) {
	h.event.Users = users
	h.event.Time++
	h.feed.stageRecord(h.offset, h.now.UnixMilli(), &h.event)
	h.offset++
	if h.feed.stage.full() {
		h.unstage()
	}
}

func (h *bench) unstage() {
	if !h.feed.unstage(h.b.Context(), h.target.clock(h.now)) {
		h.b.Fatal("the benchmark has ended")
	}
}

// send takes one batch and has it land. It returns false when none is due.
func (h *bench) send() bool {
	g := h.feed.g
	h.target.mu.Lock()
	c, _ := g.choose(h.now)
	var f *flight
	if c != nil {
		f = g.launch(c, h.now)
	}
	h.target.mu.Unlock()
	if f != nil {
		g.send(h.b.Context(), h.b.Context(), f)
	}
	return f != nil
}

// obligingBraze takes everything, in one request.
type obligingBraze struct{ outcomes []braze.Outcome }

func (o *obligingBraze) Deliver(ctx context.Context, b braze.Batch, admit braze.Admit) braze.Report {
	if err := admit(ctx); err != nil {
		return braze.Report{Outcomes: make([]braze.Outcome, len(b.Items)), Err: err}
	}
	for i := range o.outcomes {
		o.outcomes[i] = braze.Delivered
	}
	return braze.Report{Outcomes: o.outcomes[:len(b.Items)]}
}

func benchUsers(n int) []event.User {
	users := make([]event.User, n)
	for i := range users {
		users[i].Values = []event.Value{{Bytes: fmt.Appendf(nil, "user_%06d@example.com", i), Kind: event.String}}
	}
	return users
}

func perIdentifier(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/identifier")
}

// BenchmarkStage puts records to the pending set: of identifiers that are new to
// it, up to 100,000, or that wait there already.
func BenchmarkStage(b *testing.B) {
	users := benchUsers(100_000)
	for _, n := range []int{1, 500} {
		for _, known := range []bool{false, true} {
			b.Run(fmt.Sprintf("users=%d/waiting=%v", n, known), func(b *testing.B) {
				h := newBench(b, catalog.Cohorts)
				for at := 0; known && at < len(users); at += n {
					h.stage(users[at : at+n])
				}
				at := 0
				b.ReportAllocs()
				for b.Loop() {
					if at == len(users) {
						at = 0
						if !known {
							b.StopTimer()
							h.renew()
							b.StartTimer()
						}
					}
					h.stage(users[at : at+n])
					at += n
				}
				perIdentifier(b, n)
				h.unstage()
				if got := h.feed.pending; known && got != len(users) || !known && got != at {
					b.Fatalf("%d changes are pending", got)
				}
			})
		}
	}
}

// BenchmarkSend takes a full batch out of the pending set and has it land, again
// and again until 100 batches are through; then the same identifiers change
// anew, which is not measured. On the attributes API they rest for the reorder
// guard after that, and those that have rested are put back into the queue.
func BenchmarkSend(b *testing.B) {
	const batches = 100
	for _, api := range []catalog.API{catalog.Cohorts, catalog.Attributes} {
		b.Run("api="+string(api), func(b *testing.B) {
			h := newBench(b, api)
			users := benchUsers(batches * api.MaxBatch())
			refill := func() {
				for i := range users {
					h.stage(users[i : i+1])
				}
				h.unstage()
				h.now = h.now.Add(2 * time.Second)
				h.feed.g.lease.renew(h.now)
			}
			left := 0
			b.ReportAllocs()
			for b.Loop() {
				if left == 0 {
					b.StopTimer()
					refill()
					left = batches
					b.StartTimer()
				}
				if !h.send() {
					b.Fatal("no batch is due")
				}
				left--
			}
			perIdentifier(b, api.MaxBatch())
			if got := h.feed.pending; got != left*api.MaxBatch() {
				b.Fatalf("%d changes are pending, want %d batches", got, left)
			}
		})
	}
}

// BenchmarkOffsets follows records of one change each, of which so many are
// open at a time and are settled in any order.
func BenchmarkOffsets(b *testing.B) {
	for _, open := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("open=%d", open), func(b *testing.B) {
			var tr tracker
			offset := int64(0)
			track := func() markID {
				m := tr.track(offset, offset)
				tr.hold(m) // The change's; the reader's own ends here.
				tr.settle(m)
				offset++
				return m
			}
			order := rand.New(rand.NewPCG(1, 1)).Perm(open)
			marks := make([]markID, open)
			for i := range marks {
				marks[i] = track()
			}
			at := 0
			b.ReportAllocs()
			for b.Loop() {
				m := &marks[order[at]]
				tr.settle(*m)
				*m = track()
				if at++; at == open {
					at = 0
				}
			}
			if first := tr.unsettled(); first < offset-2*int64(open) || first >= offset {
				b.Fatalf("the first unsettled offset is %d of %d", first, offset)
			}
		})
	}
}
