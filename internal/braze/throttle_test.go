package braze

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"cohortsync/internal/braze/brazetest"
	"cohortsync/internal/catalog"
)

// least is a randomness without any.
func least(int64) int64 { return 0 }

func exactThrottle(limit catalog.Limit) *Throttle {
	return NewThrottle(limit, ThrottleOptions{Now: time.Now, Rand: least})
}

func hourly() catalog.Limit { return catalog.Limit{Requests: 3600, Per: time.Hour, Burst: 10} }

func headers(pairs ...string) http.Header {
	h := make(http.Header)
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

func fails(cohort string, c Class) Answer {
	return Answer{CohortID: cohort, Failure: &Failure{Class: c}}
}

func taken(t *Throttle, most int) int {
	for n := range most {
		if t.Take() > 0 {
			return n
		}
	}
	return most
}

func TestSeveral429sWithoutAResetHoldAsOneDoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		throttle := NewThrottle(hourly(), ThrottleOptions{Now: time.Now, Rand: func(n int64) int64 { return n - 1 }})
		for range 64 {
			throttle.Answer(fails("c", Limited))
		}
		require.Equal(t, backOffBase, time.Until(throttle.State().HeldUntil))
		time.Sleep(backOffBase)
		throttle.Answer(fails("c", Limited))
		require.Equal(t, 2*backOffBase, time.Until(throttle.State().HeldUntil), "the next one waits longer")
	})
}

func TestNoHoldIsLongerThanAnHourWhateverTheJitter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		throttle := NewThrottle(hourly(), ThrottleOptions{Now: time.Now, Rand: func(n int64) int64 { return n - 1 }})
		answer := fails("c", Limited)
		answer.Header = headers("Retry-After", "3600")
		throttle.Answer(answer)
		require.Equal(t, time.Hour, time.Until(throttle.State().HeldUntil))
	})
}

func TestWhatLittleRemainsIsNotSpentAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		throttle := exactThrottle(catalog.Limit{Requests: 250_000, Per: time.Hour, Burst: 70})
		throttle.Answer(Answer{CohortID: "c", Header: headers("X-RateLimit-Limit", "250000", "X-RateLimit-Remaining", "3", "X-RateLimit-Reset", "1200")})
		require.Equal(t, 3, taken(throttle, 100))
		time.Sleep(1200 * time.Second)
		taken(throttle, 1)
		time.Sleep(time.Minute)
		require.Equal(t, 70, taken(throttle, 100), "the burst is back after the reset")
	})
}

func TestA429HoldsTheCredentialUntilTheReset(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		for _, c := range []struct {
			name   string
			header http.Header
			want   time.Duration
		}{
			{"seconds", headers("Retry-After", "20"), 20 * time.Second},
			{"a date", headers("Retry-After", now.Add(30*time.Second).UTC().Format(http.TimeFormat)), 30 * time.Second},
			{"Braze's own seconds", headers("X-Ratelimit-Retry-After", "7"), 7 * time.Second},
			{"an epoch", headers("X-RateLimit-Reset", strconv.FormatInt(now.Unix()+40, 10)), 40 * time.Second},
			{"a delta", headers("X-RateLimit-Reset", "50"), 50 * time.Second},
			{"an epoch by a clock that differs", headers("X-RateLimit-Reset", "1800000060", "Date", time.Unix(1800000000, 0).UTC().Format(http.TimeFormat)), time.Minute},
			{"too far ahead", headers("Retry-After", "999999999999"), time.Hour - maxJitter},
			{"so far ahead that it would overflow", headers("Retry-After", "9223372037"), time.Hour - maxJitter},
			{"the past", headers("X-RateLimit-Reset", strconv.FormatInt(now.Unix()-60, 10)), 1},
			{"nothing", nil, 1},
		} {
			throttle := exactThrottle(hourly())
			answer := fails("c", Limited)
			answer.Header = c.header
			throttle.Answer(answer)
			require.Equal(t, now.Add(c.want), throttle.State().HeldUntil, c.name)
			require.Equal(t, min(c.want, maxAsk), throttle.Take(), c.name)
			require.False(t, throttle.State().BreakerOpen)
		}
	})
}

func TestAHoldIsNeverShortened(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		throttle := exactThrottle(hourly())
		for _, reset := range []string{"60", "10"} {
			answer := fails("c", Limited)
			answer.Header = headers("Retry-After", reset)
			throttle.Answer(answer)
		}
		require.Equal(t, time.Minute, time.Until(throttle.State().HeldUntil))
	})
}

func TestTheConfiguredLimitHoldsThoughBrazeAllowsMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		throttle := exactThrottle(hourly())
		throttle.Answer(Answer{CohortID: "c", Header: headers("X-RateLimit-Limit", "250000", "X-RateLimit-Remaining", "249999", "X-RateLimit-Reset", "1200")})
		require.Equal(t, 10, taken(throttle, 100))
		require.Equal(t, time.Second, throttle.Take())
	})
}

func TestWhatRemainsIsRationedUntilTheReset(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		throttle := exactThrottle(hourly())
		throttle.Share("g", 1, 2)
		throttle.Answer(Answer{CohortID: "c", Header: headers("X-RateLimit-Limit", "3600", "X-RateLimit-Remaining", "100", "X-RateLimit-Reset", "1000")})
		require.Equal(t, 5, taken(throttle, 100), "half of the burst")
		require.Equal(t, 20*time.Second, throttle.Take(), "half of 100 in 1000 s")
		time.Sleep(1000 * time.Second)
		taken(throttle, 100)
		require.LessOrEqual(t, throttle.Take(), 2*time.Second, "the whole rate is back")

		throttle.Answer(Answer{CohortID: "c", Header: headers("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "30")})
		require.Equal(t, 30*time.Second, throttle.Take(), "nothing remains")
		throttle.Answer(Answer{CohortID: "c", Header: headers("X-RateLimit-Limit", "1800", "X-RateLimit-Remaining", "1799", "X-RateLimit-Reset", "3000")})
		time.Sleep(31 * time.Second)
		taken(throttle, 100)
		require.InDelta(t, 4.0, throttle.Take().Seconds(), 1, "a lower limit lowers the rate")
		require.Equal(t, 1800, throttle.State().Limit)
	})
}

func TestAReplicaTakesItsShareOfAllGroups(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		throttle := exactThrottle(hourly())
		require.Equal(t, 10, taken(throttle, 100))
		require.Equal(t, time.Second, throttle.Take())
		throttle.Share("a", 3, 6)
		throttle.Share("b", 0, 6)
		require.Equal(t, 4*time.Second, throttle.Take(), "3 of 12")
		throttle.Share("a", 0, 6)
		require.Equal(t, maxAsk, throttle.Take(), "nothing is owned; ask again")
		throttle.Share("a", 6, 6)
		throttle.Share("b", 6, 6)
		ctx, cancel := context.WithCancel(t.Context())
		require.NoError(t, throttle.Wait(ctx))
		cancel()
		require.ErrorIs(t, throttle.Wait(ctx), context.Canceled)
	})
}

func TestTheBreaker(t *testing.T) {
	t.Parallel()
	row := func(throttle *Throttle, n int, c Class, cohorts ...string) {
		for i := range n {
			throttle.Answer(fails(cohorts[i%len(cohorts)], c))
		}
	}
	for name, c := range map[string]struct {
		act  func(*Throttle)
		open bool
	}{
		"opens after five failures": {func(b *Throttle) { row(b, 5, Unreachable, "a", "b") }, true},
		"not after four":            {func(b *Throttle) { row(b, 4, Unreachable, "a", "b") }, false},
		"counts the unexpected":     {func(b *Throttle) { row(b, 5, Unexpected, "a") }, true},
		"does not count 423":        {func(b *Throttle) { row(b, 50, Busy, "a", "b") }, false},
		"does not count 429":        {func(b *Throttle) { row(b, 50, Limited, "a", "b") }, false},
		"does not count refusals":   {func(b *Throttle) { row(b, 50, Refused, "a", "b") }, false},
		"starts again after a success": {func(b *Throttle) {
			row(b, 4, Unreachable, "a", "b")
			b.Answer(Answer{CohortID: "a"})
			row(b, 4, Unreachable, "a", "b")
		}, false},
		"is not opened by one cohort while another succeeds": {func(b *Throttle) {
			b.Answer(Answer{CohortID: "b"})
			b.Answer(Answer{CohortID: "a"})
			row(b, 50, Unreachable, "a")
		}, false},
		"is opened by one cohort when it is the only one": {func(b *Throttle) {
			b.Answer(Answer{CohortID: "a"})
			row(b, 5, Unreachable, "a")
		}, true},
		"is opened by one cohort once the others' success is old": {func(b *Throttle) {
			b.Answer(Answer{CohortID: "b"})
			row(b, 5, Unreachable, "a")
			time.Sleep(othersFresh + 1)
			row(b, 1, Unreachable, "a")
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				throttle := exactThrottle(hourly())
				c.act(throttle)
				require.Equal(t, c.open, throttle.State().BreakerOpen)
			})
		})
	}
}

func TestAnOpenBreakerLetsOneProbeThroughAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		throttle := exactThrottle(hourly())
		newTestCohorts(nil, func(o *Options) { o.Throttle = throttle })
		for range 5 {
			throttle.Answer(fails("a", Unreachable))
		}
		require.Positive(t, throttle.Take())
		time.Sleep(time.Nanosecond)
		require.Zero(t, throttle.Take(), "the probe")
		require.Equal(t, probePoll, throttle.Take(), "another waits for it")
		time.Sleep(15 * time.Second)
		require.Zero(t, throttle.Take(), "a permit that nobody used has expired")
		throttle.Answer(fails("a", Unreachable))
		require.Positive(t, throttle.Take(), "a failed probe opens it again")
		time.Sleep(time.Nanosecond)
		require.Zero(t, throttle.Take())
		throttle.Answer(Answer{CohortID: "a"})
		require.False(t, throttle.State().BreakerOpen)
		require.Equal(t, 8, taken(throttle, 10), "all but the probes")
	})
}

// openedBreaker returns a throttle whose breaker five failures have opened, and
// whose waits are as long as they may be.
func openedBreaker() *Throttle {
	throttle := NewThrottle(hourly(), ThrottleOptions{Now: time.Now, Rand: func(n int64) int64 { return n - 1 }})
	newTestCohorts(nil, func(o *Options) { o.Throttle = throttle })
	for range breakerThreshold {
		throttle.Answer(fails("a", Unreachable))
	}
	return throttle
}

func TestRequestsFromBeforeTheBreakerOpenedDoNotKeepItOpenForLonger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		throttle := openedBreaker()
		for range 64 { // All that were in flight.
			throttle.Answer(fails("a", Unreachable))
		}
		require.Equal(t, backOffBase, throttle.Take())
	})
}

func TestABreakerThatOpensAgainWaitsAsShortlyAsAtFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		throttle := openedBreaker()
		time.Sleep(backOffBase)
		require.Zero(t, throttle.Take())
		throttle.Answer(fails("a", Unreachable))
		require.Equal(t, 2*backOffBase, throttle.Take(), "a failed probe makes the wait grow")
		time.Sleep(2 * backOffBase)
		require.Zero(t, throttle.Take())
		throttle.Answer(Answer{CohortID: "a"})
		for range breakerThreshold {
			throttle.Answer(fails("a", Unreachable))
		}
		require.Equal(t, backOffBase, throttle.Take())
	})
}

func TestAnyAnswerToTheProbeClosesTheBreaker(t *testing.T) {
	t.Parallel()
	for _, class := range []Class{Limited, Busy, Refused, Invalid, 0} {
		synctest.Test(t, func(t *testing.T) {
			throttle := openedBreaker()
			time.Sleep(backOffBase)
			require.Zero(t, throttle.Take())
			throttle.Answer(fails("a", class))
			require.False(t, throttle.State().BreakerOpen, "%v", class)
		})
	}
}

func TestBackOffWaitsWithFullJitterForEver(t *testing.T) {
	t.Parallel()
	most := NewBackOff(func(n int64) int64 { return n - 1 })
	for range 2 {
		for _, want := range []int64{500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000} {
			require.Equal(t, want, most.NextBackOff().Milliseconds())
		}
		most.Reset()
	}
	for range 10000 {
		require.Equal(t, time.Duration(1), NewBackOff(least).NextBackOff())
	}
}

func TestDeliveryGoesOnAfterBrazeWasDownForAnHour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		throttle := NewThrottle(hourly(), ThrottleOptions{Now: time.Now, Rand: rng.Int64N})
		server := newBraze(brazetest.Options{})
		client := newTestCohorts(server.Transport(), func(o *Options) { o.Throttle = throttle })
		require.NoError(t, client.Name(t.Context(), naming(), always))
		down := time.Now()
		server.Script(func(r brazetest.Request) brazetest.Fault {
			if time.Since(down) < time.Hour {
				return brazetest.Answer(http.StatusServiceUnavailable, "")
			}
			return brazetest.Fault{}
		})
		wait := NewBackOff(rng.Int64N)
		for {
			require.NoError(t, throttle.Wait(t.Context()))
			report := client.Deliver(t.Context(), batchOf(1), always)
			if report.Err == nil {
				break
			}
			time.Sleep(wait.NextBackOff())
		}
		require.True(t, server.Members("c1")[user(0)])
		require.LessOrEqual(t, time.Since(down), time.Hour+2*backOffCap)
		require.Less(t, len(server.History()), 400, "and Braze was left in peace")
		require.False(t, throttle.State().BreakerOpen)
	})
}
