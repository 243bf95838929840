package stream

import (
	"testing"
	"time"
)

func TestLease(t *testing.T) {
	t.Parallel()
	timing := Timing{SessionTimeout: 30 * time.Second, RebalanceTimeout: 40 * time.Second, HeartbeatInterval: 3 * time.Second}
	const request = 15 * time.Second // So the lease is 30 - 3 - 15 = 12 seconds.
	base := time.Now()
	wallOnly := func(d time.Duration) time.Time { return base.Round(0).Add(d) }
	tests := map[string]struct {
		sent, now time.Time
		want      bool
	}{
		"no commit yet":          {time.Time{}, base, false},
		"just after the sending": {base, base.Add(time.Millisecond), true},
		"just before the end":    {base, base.Add(12*time.Second - 1), true},
		"at the end":             {base, base.Add(12 * time.Second), false},
		"the wall clock went on while the monotonic stood": {base, wallOnly(13 * time.Second), false},
		"the wall clock went on a little":                  {base, wallOnly(11 * time.Second), true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLease(timing, request)
			l.renew(tt.sent)
			if got := l.valid(tt.now); got != tt.want {
				t.Errorf("valid is %v, want %v", got, tt.want)
			}
		})
	}
}
