package braze

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func FuzzRateHeaders(f *testing.F) {
	f.Add("250000", "3", "1800000060", "", "", "")
	f.Add("3000", "0", "2", "7", "20", "Wed, 25 Nov 2026 04:00:00 GMT")
	f.Add("-1", "99999999999999999999", "-5", "1e3", " 4 ", "yesterday")
	now := time.Unix(1_800_000_000, 0)
	f.Fuzz(func(t *testing.T, limit, remaining, reset, brazes, standard, date string) {
		h := http.Header{}
		h.Set("X-RateLimit-Limit", limit)
		h.Set("X-RateLimit-Remaining", remaining)
		h.Set("X-RateLimit-Reset", reset)
		h.Set("X-Ratelimit-Retry-After", brazes)
		h.Set("Retry-After", standard)
		h.Set("Date", date)
		said := readRateHeaders(h, now)
		require.GreaterOrEqual(t, said.limit, 0)
		require.GreaterOrEqual(t, said.remaining, -1)

		throttle := NewThrottle(hourly(), ThrottleOptions{Now: func() time.Time { return now }, Rand: func(n int64) int64 { return n - 1 }})
		for _, failure := range []*Failure{nil, {Class: Limited, Status: 429}} {
			throttle.Answer(Answer{CohortID: "c", Header: h, Failure: failure})
			state := throttle.State()
			require.False(t, state.HeldUntil.After(now.Add(maxHold)), "no hold is longer than an hour: %v", state.HeldUntil)
			wait := throttle.Take()
			require.True(t, wait >= 0 && wait <= maxAsk, "%v", wait)
		}
	})
}

// FuzzAnswer holds every answer of the cohorts API to a class, and to silence
// about the secrets.
func FuzzAnswer(f *testing.F) {
	for _, body := range []string{
		"", "{}", `{"message":"success"}`, "<html>" + dataKey, `{"message":"Partner not enabled for client with client secret: ` + dataKey + `"}`,
		"[1,2", "`cohort_id` must be a valid string", strings.Repeat("{", 20_000),
	} {
		f.Add(201, []byte(body), false)
		f.Add(400, []byte(body), false)
		f.Add(401, []byte(body), true)
	}
	keys := &credentials{partner: partnerKey, api: dataKey}
	f.Fuzz(func(t *testing.T, status int, body []byte, cut bool) {
		a := answer{status: status, body: body, cut: cut}
		if status == 0 {
			a.err = errors.New("dialling, with " + string(body))
		}
		for _, judge := range []func(*answer, *credentials) error{judgeMembers, judgeNaming} {
			err := a.judge(keys, &call{judge: judge})
			if err == nil {
				require.Equal(t, 2, status/100, "only a 2xx settles")
				continue
			}
			text := err.Error()
			require.True(t, utf8.ValidString(text))
			require.LessOrEqual(t, len(text), 600)
			for _, secret := range []string{partnerKey, dataKey} {
				require.NotContains(t, text, secret)
			}
			if _, is := errors.AsType[*rejected](err); is {
				require.True(t, status == http.StatusBadRequest || status == http.StatusRequestEntityTooLarge)
				continue
			}
			class, ok := ClassOf(err)
			require.True(t, ok && class >= Unreachable && class <= Invalid)
		}
	})
}
