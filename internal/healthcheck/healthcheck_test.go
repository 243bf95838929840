package healthcheck_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"cohortsync/internal/healthcheck"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAWildcardIsReachedByLoopback(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]string{
		":8080":          "127.0.0.1:8080",
		"0.0.0.0:8080":   "127.0.0.1:8080",
		"[::]:8080":      "[::1]:8080",
		"127.0.0.1:8080": "127.0.0.1:8080",
		"[::1]:8080":     "[::1]:8080",
		"192.0.2.7:80":   "192.0.2.7:80",
		"worker:8080":    "worker:8080",
	} {
		got, err := healthcheck.Address(listen)
		require.NoError(t, err)
		require.Equal(t, want, got, listen)
	}
}

func TestAnAddressThatNobodyCanAskIsAnError(t *testing.T) {
	t.Parallel()
	for listen, says := range map[string]string{
		"8080":        "want host:port",
		"127.0.0.1:0": "chosen when the server starts",
	} {
		_, err := healthcheck.Address(listen)
		require.ErrorContains(t, err, says, listen)
	}
}

// serve answers as told and returns its address.
func serve(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func TestOnlyA200IsHealthy(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		says   string
	}{
		"well": {func(http.ResponseWriter, *http.Request) {}, ""},
		"stuck": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "{\n  \"status\": \"stuck\"\n}", http.StatusServiceUnavailable)
		}, `is not healthy: it answers 503 Service Unavailable: { "status": "stuck" }`},
		"silent about it": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, "is not healthy: it answers 404 Not Found"},
		"sent elsewhere":  {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/well", http.StatusFound) }, "it answers 302 Found"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := healthcheck.Ask(t.Context(), serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == healthcheck.Path {
					tc.answer(w, r)
				}
			}))
			if tc.says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tc.says)
		})
	}
}

func TestNobodyThereIsUnhealthy(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	require.ErrorContains(t, healthcheck.Ask(t.Context(), listener.Addr().String()), "connection refused")
}

func TestAnAnswerThatDoesNotComeIsNotWaitedForLonger(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	address := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel(errors.New("waited long enough"))
		<-r.Context().Done()
	})
	require.ErrorContains(t, healthcheck.Ask(ctx, address), "for its health: waited long enough")
}
