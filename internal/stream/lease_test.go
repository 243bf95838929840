package stream

import (
	"testing"
	"time"
	"unsafe"
)

func TestLease(t *testing.T) {
	t.Parallel()
	timing := Timing{SessionTimeout: 30 * time.Second, RebalanceTimeout: 40 * time.Second, HeartbeatInterval: 3 * time.Second}
	const request = 15 * time.Second // So the lease is 30 - 3 - 15 = 12 seconds.
	base := time.Now()
	later := func(wall, monotonic time.Duration) time.Time { return movedClocks(t, base, wall, monotonic) }
	tests := map[string]struct {
		sent, now time.Time
		want      bool
	}{
		"no commit yet":          {time.Time{}, base, false},
		"just after the sending": {base, base.Add(time.Millisecond), true},
		"just before the end":    {base, base.Add(12*time.Second - 1), true},
		"at the end":             {base, base.Add(12 * time.Second), false},
		"the wall clock went on while the monotonic stood": {base, later(13*time.Second, 0), false},
		"the wall clock went on a little":                  {base, later(11*time.Second, 0), true},
		"the wall clock was set back":                      {base, later(-time.Hour, 13*time.Second), false},
		"the wall clock was set back, but it is early":     {base, later(-time.Hour, 11*time.Second), true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLease(timing, request, base)
			if !tt.sent.IsZero() {
				l.renew(tt.sent)
			}
			if got := l.valid(tt.now); got != tt.want {
				t.Errorf("valid is %v, want %v", got, tt.want)
			}
		})
	}
}

// movedClocks returns a moment before which one clock has gone on by wall and the
// other by monotonic: on a machine that slept, or whose clock has been set.
// Package time offers no such thing, so this reaches into a Time, whose second
// word is its monotonic reading, and checks what has come of that.
func movedClocks(t *testing.T, from time.Time, wall, monotonic time.Duration) time.Time {
	t.Helper()
	to := from.Add(wall)
	*(*time.Duration)(unsafe.Add(unsafe.Pointer(&to), unsafe.Sizeof(uint64(0)))) += monotonic - wall
	if to.Sub(from) != monotonic || to.Round(0).Sub(from.Round(0)) != wall {
		t.Fatalf("a Time has another layout by now: %v and %v have passed", to.Sub(from), to.Round(0).Sub(from.Round(0)))
	}
	return to
}

// A commit after a silence may have been accepted in the middle of a rebalance
// that a heartbeat has not told yet: only one a heartbeat later counts.
func TestALeaseIsNotRenewedByTheFirstCommitAfterASilence(t *testing.T) {
	t.Parallel()
	timing := Timing{SessionTimeout: 30 * time.Second, RebalanceTimeout: 30 * time.Second, HeartbeatInterval: 3 * time.Second}
	base := time.Now()
	at := func(seconds float64) time.Time { return base.Add(time.Duration(seconds * float64(time.Second))) }
	tests := map[string]struct {
		commits []float64 // When each was sent, in seconds.
		now     float64
		want    bool
	}{
		"commits in time":                         {[]float64{1, 2, 10}, 21, true},
		"one just too late":                       {[]float64{1, 10}, 14, false},
		"and another within the heartbeat":        {[]float64{1, 20, 21, 22.9}, 23, false},
		"and another at its end":                  {[]float64{1, 20, 21, 23}, 24, false},
		"and another after it":                    {[]float64{1, 20, 21, 23.1}, 24, true},
		"the first of a generation comes late":    {[]float64{9}, 10, false},
		"the first of a generation comes in time": {[]float64{8.9}, 10, true},
		"in time again after that":                {[]float64{1, 20, 23.1, 24}, 35, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLease(timing, 15*time.Second, base)
			for _, sent := range tt.commits {
				l.renew(at(sent))
			}
			if got := l.valid(at(tt.now)); got != tt.want {
				t.Errorf("valid is %v, want %v", got, tt.want)
			}
		})
	}
}
