//go:build unix

package main

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cohortsync/internal/braze/brazetest"
	"cohortsync/internal/catalog"
	"cohortsync/internal/kafkatest"
)

// refused begins every identifier that Braze refuses.
const refused = "bad-"

// TestKilledWorkersLoseNothing runs two workers of the real binary on one log
// while a nemesis kills, stops and freezes them and Braze misbehaves. When it
// is over and the log is worked off, Braze's members are what the log says, and
// exactly those that Braze refuses are dead letters.
//
// COHORTSYNC_KILL_SECONDS (30) says how long at least: each harm is done once,
// however slow the machine. COHORTSYNC_KILL_SEED repeats a run as far as
// processes can be repeated.
func TestKilledWorkersLoseNothing(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("killing workers takes more than half a minute")
	}
	seconds, err := strconv.Atoi(cmp.Or(os.Getenv("COHORTSYNC_KILL_SECONDS"), "30"))
	require.NoError(t, err)
	seed, err := strconv.ParseUint(cmp.Or(os.Getenv("COHORTSYNC_KILL_SEED"), strconv.FormatInt(time.Now().UnixNano(), 10)), 10, 64)
	require.NoError(t, err)
	t.Logf("COHORTSYNC_KILL_SEED=%d COHORTSYNC_KILL_SECONDS=%d", seed, seconds)

	kafka := startKafka(t, 4)
	us, usURL := misbehaving(t, seed)
	eu, euURL := misbehaving(t, seed+1)
	s := killSettings().on(kafka)
	s.targets = []target{{"US", usURL, "all"}, {"EU", euURL, "first"}}
	binary := build(t)
	config := s.write(t)
	workers := []*worker{newWorker(t, binary, config), newWorker(t, binary, config)}
	for _, w := range workers {
		w.start(t)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log := newModel(seed)
	written := make(chan error, 1)
	go func() { written <- log.write(ctx, client(t, kafka)) }()
	done := nemesis(ctx, t, time.Duration(seconds)*time.Second, rand.New(rand.NewPCG(seed, 1)), kafka, workers)
	cancel()
	require.NoError(t, <-written)
	for harm, times := range done {
		require.Positive(t, times, "nobody has suffered harm %d (0 kill, 1 stop, 2 freeze)", harm)
	}
	t.Logf("%d records", log.records)

	for _, w := range workers {
		require.True(t, w.running(), "a worker has ended by itself")
	}
	// The log goes quiet, and so does Braze. A cohort that failed again and
	// again until then may have up to a minute of its backoff left.
	for _, server := range []*brazetest.Server{us, eu} {
		server.SetFaults(brazetest.Faults{})
		server.Script(nil)
	}
	for _, g := range []string{"cohortsync.us", "cohortsync.eu"} {
		eventually(t, func() string {
			behind := uncommitted(t, kafka, g)
			if behind == "" {
				return ""
			}
			for _, w := range workers {
				_, page := w.get(t, "/readyz")
				behind += "\n" + page
			}
			return fmt.Sprintf("%s\n%+v", behind, kafka.Admin().Group(t, g))
		})
	}
	letters := readLetters(t, kafka)
	log.compare(t, us, letters["US"], sendAll)
	log.compare(t, eu, letters["EU"], sendFirst)
	for _, w := range workers {
		w.signal(t, syscall.SIGTERM)
	}
	for _, w := range workers {
		require.Equal(t, exitDone, w.wait(t))
	}
}

// killSettings have times as short as they can be told apart on a busy
// machine. kfake takes sessions of 6 s and more.
func killSettings() settings {
	return settings{session: 6 * time.Second, drain: 3 * time.Second, request: time.Second}
}

// misbehaving starts a Braze with every fault that passes by itself.
func misbehaving(t *testing.T, seed uint64) (*brazetest.Server, string) {
	t.Helper()
	server, _, url := startBraze(t, brazetest.Options{
		Seed: seed, Bad: func(id catalog.Identifier) bool { return strings.HasPrefix(id.Value, refused) },
	})
	server.SetFaults(brazetest.Faults{
		Latency: 5 * time.Millisecond, Jitter: 120 * time.Millisecond,
		ServerError: .01, AppliedThenLost: .01, AppliedThenError: .01, Locked: .01, Reset: .01, Silent: .005, HTML: .005,
	})
	// The server's own 429 asks for up to half a minute of patience, which is
	// all that this test has.
	rng := rand.New(rand.NewPCG(seed, 2))
	server.Script(func(brazetest.Request) brazetest.Fault {
		if rng.Float64() > .005 {
			return brazetest.Fault{}
		}
		f := brazetest.Answer(http.StatusTooManyRequests, `{"message":"Rate limit exceeded"}`)
		f.Header = http.Header{"X-Ratelimit-Retry-After": {"1"}}
		return f
	})
	return server, url
}

// nemesis harms one worker after the other for as long as it is given, or until
// each harm is done, should that take longer: patience longer at most. Then both
// run. It returns how often each harm was done.
//
// It harms nobody who is just joining: kfake forgets to watch the session of a
// member that is gone before its group has formed (it clears the wait for
// members' syncs when the leader has synced), and leaves that member its
// partitions for good. Apache Kafka counts its session from the answer to the
// join.
func nemesis(ctx context.Context, t *testing.T, given time.Duration, rng *rand.Rand, kafka kafkatest.Broker, workers []*worker) (done []int) {
	t.Helper()
	enough, cancelEnough := context.WithTimeout(ctx, given)
	defer cancelEnough()
	ctx, cancel := context.WithTimeout(ctx, given+patience)
	defer cancel()
	harms := []func(*worker){
		func(w *worker) {
			w.kill(t)
			require.Equal(t, syscall.SIGKILL, w.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
			rest(ctx, rng, time.Second)
			w.start(t)
		},
		func(w *worker) {
			w.signal(t, syscall.SIGTERM)
			require.Equal(t, exitDone, w.wait(t))
			rest(ctx, rng, time.Second)
			w.start(t)
		},
		func(w *worker) {
			w.signal(t, syscall.SIGSTOP)
			// Past the session timeout: its partitions go to the other one.
			pass(ctx, killSettings().session+time.Second)
			w.signal(t, syscall.SIGCONT)
		},
	}
	done = make([]int, len(harms))
	// Each comes once before any comes again.
	for round := rng.Perm(len(harms)); ; {
		rest(ctx, rng, 3*time.Second)
		if ctx.Err() != nil {
			return done
		}
		if len(round) == 0 {
			round = rng.Perm(len(harms))
		}
		for _, g := range []string{"cohortsync.us", "cohortsync.eu"} {
			for {
				group := kafka.Admin().Group(t, g)
				if group.State == "Stable" && len(group.Members) == len(workers) {
					break
				}
				pass(ctx, often)
				if ctx.Err() != nil {
					return done
				}
			}
		}
		who := rng.IntN(len(workers))
		t.Logf("%s: worker %d suffers harm %d (0 kill, 1 stop, 2 freeze)", time.Now().Format(time.TimeOnly), who, round[0])
		harms[round[0]](workers[who])
		if ctx.Err() == nil { // It was not cut short.
			done[round[0]]++
		}
		if !slices.Contains(done, 0) { // From here on the given time counts.
			context.AfterFunc(enough, cancel)
		}
		round = round[1:]
	}
}

// rest lets up to d pass.
func rest(ctx context.Context, rng *rand.Rand, d time.Duration) {
	pass(ctx, time.Duration(rng.Int64N(int64(d))))
}

// pass lets d pass, for it is time itself that the nemesis deals in.
func pass(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// compare holds Braze and the letters against the log.
func (m *model) compare(t *testing.T, server *brazetest.Server, letters letters, send func(user) []catalog.Identifier) {
	t.Helper()
	require.Empty(t, server.Violations())
	require.Empty(t, letters.others, "letters of others than those whom Braze refuses")
	for cohort, users := range m.newest {
		got, want := server.Members(cohort), make(map[catalog.Identifier]bool)
		for u, last := range users {
			for _, id := range send(u) {
				if strings.HasPrefix(id.Value, refused) {
					if !letters.places[id][last.place()] {
						t.Errorf("cohort %s: no letter of %v for its newest change, %s", cohort, id, last.place())
					}
				} else if last.in {
					want[id] = true
				}
				if got[id] != want[id] {
					t.Errorf("cohort %s: %v is a member: %t, want %t\nlog: %v\nBraze: %s",
						cohort, id, got[id], want[id], m.history[cohort][u], operations(server, cohort, id))
				}
			}
		}
		for id := range got {
			if !want[id] {
				t.Errorf("cohort %s: %v should be no member", cohort, id)
			}
		}
	}
}

func operations(server *brazetest.Server, cohort string, id catalog.Identifier) string {
	var b strings.Builder
	for _, op := range server.Operations(cohort, id) {
		fmt.Fprintf(&b, "request %d at %s remove=%t; ", op.Seq, op.At.Format(time.StampMilli), op.Remove)
	}
	return b.String()
}
