package brazetest

import (
	"net/http"
	"strconv"
	"time"
)

const limitedBody = `{"message":"Rate limit exceeded"}`

// limiter is the rate limit of one API. Its windows begin at full multiples of
// their length, as Braze's do.
type limiter struct {
	limit   int
	per     time.Duration
	dialect Dialect

	window time.Time
	used   int
}

// limiter returns the rate limit of one of the APIs.
func (s *Server) limiter(track bool) *limiter {
	if track {
		return &s.limits[1]
	}
	return &s.limits[0]
}

// spend counts a request against the limit and returns its headers, and the
// 429 when nothing is left. Without a limit it has nothing to say.
func (l *limiter) spend() (http.Header, *reply) {
	if l.limit < 0 {
		return nil, nil
	}
	now := time.Now()
	if window := now.Truncate(l.per); !window.Equal(l.window) {
		l.window, l.used = window, 0
	}
	reset := l.window.Add(l.per).Sub(now)
	if l.used >= l.limit {
		return nil, &reply{status: http.StatusTooManyRequests, header: l.limited(reset), body: limitedBody}
	}
	l.used++
	return l.header(l.limit-l.used, reset), nil
}

// header is what an answer says of the limit.
func (l *limiter) header(remaining int, reset time.Duration) http.Header {
	h := make(http.Header)
	h.Set("X-Ratelimit-Limit", strconv.Itoa(l.limit))
	h.Set("X-Ratelimit-Remaining", strconv.Itoa(remaining))
	seconds := int64((reset + time.Second - 1) / time.Second)
	if l.dialect == EpochReset {
		seconds = time.Now().Add(reset + time.Second - 1).Unix()
	}
	h.Set("X-Ratelimit-Reset", strconv.FormatInt(seconds, 10))
	return h
}

// limited is what a 429 says of the limit.
func (l *limiter) limited(reset time.Duration) http.Header {
	if l.dialect == EpochReset {
		return l.header(0, reset)
	}
	h := make(http.Header)
	h.Set("X-Ratelimit-Retry-After", strconv.FormatInt(int64((reset+time.Second-1)/time.Second), 10))
	return h
}
