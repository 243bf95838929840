package brazetest

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheAttributesAPIHasARateLimitOfItsOwn(t *testing.T) {
	t.Parallel()
	for _, dialect := range []Dialect{EpochReset, DeltaReset} {
		synctest.Test(t, func(t *testing.T) {
			server := New(Options{APIKey: "s", Dialect: dialect})
			time.Sleep(time.Second)
			body := attributes(object("u", `"a":true`))
			for range 3000 {
				status, _ := told(t, server, body)
				require.Equal(t, http.StatusCreated, status)
			}
			res, said, err := track(t.Context(), t, server.Transport(), "http://braze", body)
			require.NoError(t, err)
			require.Equal(t, http.StatusTooManyRequests, res.StatusCode, said)
			if dialect == DeltaReset {
				require.Equal(t, "2", res.Header.Get("X-Ratelimit-Retry-After"))
				require.Empty(t, res.Header.Get("X-RateLimit-Reset"))
			} else {
				require.Equal(t, fmt.Sprint(time.Now().Add(2*time.Second).Unix()), res.Header.Get("X-RateLimit-Reset"))
				require.Equal(t, "3000", res.Header.Get("X-RateLimit-Limit"))
			}
			res, _, err = post(t.Context(), t, server.Transport(), "http://braze", "", naming)
			require.NoError(t, err)
			require.Equal(t, "249999", res.Header.Get("X-RateLimit-Remaining"), "the other API has not spent anything")
			time.Sleep(2 * time.Second)
			res, _, err = track(t.Context(), t, server.Transport(), "http://braze", body)
			require.NoError(t, err)
			require.Equal(t, http.StatusCreated, res.StatusCode)
			require.Equal(t, "2999", res.Header.Get("X-RateLimit-Remaining"))
			if dialect == DeltaReset {
				require.Equal(t, "3", res.Header.Get("X-RateLimit-Reset"))
			}
		})
	}
}

func TestTheRateLimitSpeaksBothDialects(t *testing.T) {
	t.Parallel()
	for _, dialect := range []Dialect{EpochReset, DeltaReset} {
		synctest.Test(t, func(t *testing.T) {
			server := New(Options{Limit: 1, Dialect: dialect})
			time.Sleep(30 * time.Minute)
			res, _, err := post(t.Context(), t, server.Transport(), "http://braze", "", naming)
			require.NoError(t, err)
			require.Equal(t, "0", res.Header.Get("X-RateLimit-Remaining"))
			res, _, err = post(t.Context(), t, server.Transport(), "http://braze", "", naming)
			require.NoError(t, err)
			require.Equal(t, http.StatusTooManyRequests, res.StatusCode)
			if dialect == DeltaReset {
				require.Equal(t, "1800", res.Header.Get("X-Ratelimit-Retry-After"))
				require.Empty(t, res.Header.Get("X-RateLimit-Reset"))
			} else {
				require.NotEmpty(t, res.Header.Get("X-RateLimit-Reset"))
			}
			time.Sleep(30 * time.Minute)
			res, _, err = post(t.Context(), t, server.Transport(), "http://braze", "", naming)
			require.NoError(t, err)
			require.Equal(t, http.StatusCreated, res.StatusCode, "the hour is full")
		})
	}
}

func TestA429ByChanceSpeaksTheDialectToo(t *testing.T) {
	t.Parallel()
	for dialect, want := range map[Dialect][]string{
		EpochReset: {"X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset"}, DeltaReset: {"X-Ratelimit-Retry-After"},
	} {
		server := New(Options{APIKey: "s", Dialect: dialect})
		server.SetFaults(Faults{Limited: 1})
		res, _, err := track(t.Context(), t, server.Transport(), "http://braze", attributes(object("u", `"a":true`)))
		require.NoError(t, err)
		require.Equal(t, http.StatusTooManyRequests, res.StatusCode)
		require.Equal(t, want, slices.Sorted(maps.Keys(res.Header)))
		if dialect == EpochReset {
			require.Equal(t, "0", res.Header.Get("X-Ratelimit-Remaining"))
		}
	}
}

func TestWithoutALimitThereAreNoHeaders(t *testing.T) {
	t.Parallel()
	server := New(Options{APIKey: "s", TrackLimit: -1})
	for range 3001 {
		res, _, err := track(t.Context(), t, server.Transport(), "http://braze", attributes(object("u", `"a":true`)))
		require.NoError(t, err)
		require.Equal(t, http.StatusCreated, res.StatusCode)
		require.Empty(t, res.Header)
	}
}
