package braze

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// rateHeaders is what an answer says about the rate limit.
type rateHeaders struct {
	// limit is 0 and remaining -1 when the answer does not say.
	limit, remaining int
	// reset is the time to the reset; 0 or less when the answer does not say.
	reset time.Duration
}

// epochFrom is the least value of X-RateLimit-Reset that is a time rather than
// a number of seconds, which would come to three years: Braze has both
// (https://www.braze.com/docs/api/api_limits and, for its MAU plans,
// https://www.braze.com/docs/api/endpoints/user_data/post_user_track).
const epochFrom = 100_000_000

// readRateHeaders reads both dialects. Times are taken against the answer's
// own Date where it has one, so that a wrong clock here does no harm.
func readRateHeaders(h http.Header, now time.Time) rateHeaders {
	said := rateHeaders{remaining: -1}
	if n, ok := headerInt(h, "X-RateLimit-Limit"); ok && n > 0 {
		said.limit = int(min(n, 1<<31-1))
	}
	if n, ok := headerInt(h, "X-RateLimit-Remaining"); ok && n >= 0 {
		said.remaining = int(min(n, 1<<31-1))
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	said.reset = resetOf(h, now)
	return said
}

func resetOf(h http.Header, now time.Time) time.Duration {
	if n, ok := headerInt(h, "Retry-After"); ok && n > 0 {
		return seconds(n)
	}
	if at, err := http.ParseTime(h.Get("Retry-After")); err == nil && at.After(now) {
		return at.Sub(now)
	}
	if n, ok := headerInt(h, "X-Ratelimit-Retry-After"); ok && n > 0 {
		return seconds(n)
	}
	n, ok := headerInt(h, "X-RateLimit-Reset")
	switch {
	case !ok:
		return 0
	case n > epochFrom:
		return time.Unix(n, 0).Sub(now)
	default:
		return seconds(n)
	}
}

// seconds returns n seconds, cut to what the longest hold can make use of.
func seconds(n int64) time.Duration {
	return time.Duration(min(n, int64(2*maxHold/time.Second))) * time.Second
}

func headerInt(h http.Header, name string) (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimSpace(h.Get(name)), 10, 64)
	return n, err == nil
}
