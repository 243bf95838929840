package braze

import (
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Rand returns a random number in [0, n), n > 0, as math/rand/v2's Int64N
// does. It must be safe for concurrent use.
type Rand func(n int64) int64

const (
	backOffBase = 500 * time.Millisecond
	backOffCap  = time.Minute
)

// fullJitter is a backoff.BackOff whose n-th wait is uniform in
// (0, min(cap, base·2ⁿ)], so that those who failed together do not return
// together (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter).
// The package's own exponential one stops after 15 minutes and jitters by half.
type fullJitter struct {
	rand    Rand
	ceiling time.Duration
}

// NewBackOff returns waits with full jitter, from half a second up to a
// minute, that never stop. It belongs to one goroutine.
func NewBackOff(rand Rand) backoff.BackOff {
	return &fullJitter{rand: rand, ceiling: backOffBase}
}

// NextBackOff returns the next wait; never backoff.Stop.
func (b *fullJitter) NextBackOff() time.Duration {
	wait := 1 + time.Duration(b.rand(int64(b.ceiling)))
	b.ceiling = min(2*b.ceiling, backOffCap)
	return wait
}

// Reset starts again with the shortest wait.
func (b *fullJitter) Reset() { b.ceiling = backOffBase }
