package brazetest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOneAttributeOfOneUserInFlightTwiceIsAViolation(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		second string
		want   int
	}{
		"the same attribute and user": {attributes(object("u", `"a":false`)), 1},
		"another user":                {attributes(object("v", `"a":false`)), 0},
		"another attribute":           {attributes(object("u", `"b":false`)), 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := New(Options{APIKey: "s"})
				server.SetFaults(Faults{Latency: time.Second})
				done := make(chan struct{})
				go func() {
					defer close(done)
					_, _ = told(t, server, attributes(object("u", `"a":true`)))
				}()
				synctest.Wait()
				status, _ := told(t, server, c.second)
				<-done
				require.Equal(t, http.StatusCreated, status, "attributes are not locked")
				require.Len(t, server.Violations(), c.want)
				status, _ = told(t, server, c.second)
				require.Equal(t, http.StatusCreated, status)
				require.Len(t, server.Violations(), c.want, "one after the other is fine")
			})
		})
	}
}

func TestAnUnansweredRequestIsInFlightUntilItsDeadline(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{Silent, AppliedThenLost} {
		synctest.Test(t, func(t *testing.T) {
			server := New(Options{APIKey: "s"})
			server.Queue(Fault{Kind: kind})
			body := attributes(object("u", `"a":true`))
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			defer cancel()
			done := make(chan error)
			go func() {
				_, _, err := track(ctx, t, server.Transport(), "http://braze", body)
				done <- err
			}()
			synctest.Wait()
			require.Equal(t, kind == AppliedThenLost, server.Members("a")[external("u")])
			_, _ = told(t, server, body)
			require.Len(t, server.Violations(), 1)
			require.ErrorIs(t, <-done, context.DeadlineExceeded)
			_, _ = told(t, server, body)
			require.Len(t, server.Violations(), 1)
		})
	}
}

func TestViolationsOfTheAttributesAPI(t *testing.T) {
	t.Parallel()
	for what, body := range map[string]string{
		"u of \"a\" twice":           attributes(object("u", `"a":true`), object("u", `"a":false`)),
		"object 1 may create a user": attributes(object("u", `"a":true`), `{"external_id":"v","a":true}`),
		"object 0 may create a user": attributes(`{"user_alias":{"alias_name":"n","alias_label":"l"},"_update_existing_only":false,"a":true}`),
		"76 objects":                 attributes(strings.Split(strings.Repeat("{\"braze_id\":\"b\",\"_update_existing_only\":true}\n", 75)+object("u", `"a":true`), "\n")...),
	} {
		server := New(Options{APIKey: "s"})
		_, _ = told(t, server, body)
		require.Len(t, server.Violations(), 1)
		require.Contains(t, server.Violations()[0], what)
	}
}

// served calls the server as net/http does, in virtual time.
type served struct{ s *Server }

func (h served) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := httptest.NewRecorder()
	aborted := func() (aborted any) {
		defer func() { aborted = recover() }()
		h.s.ServeHTTP(answer, r)
		return nil
	}()
	if aborted != nil {
		return nil, aborted.(error)
	}
	return answer.Result(), nil
}

// Over a socket the server may not know yet that a client has gone, so it
// tells an overlap only once the first request is answered.
func TestServingAnOverlapIsToldOnceTheFirstIsAnswered(t *testing.T) {
	t.Parallel()
	for patience, want := range map[time.Duration]int{time.Hour: 1, time.Second: 0} {
		synctest.Test(t, func(t *testing.T) {
			server := New(Options{APIKey: "s"})
			server.SetFaults(Faults{Latency: time.Minute})
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			body := attributes(object("u", `"a":true`))
			done := make(chan error)
			go func() {
				_, _, err := track(ctx, t, served{server}, "http://braze", body)
				done <- err
			}()
			synctest.Wait()
			server.SetFaults(Faults{})
			res, _, err := track(t.Context(), t, served{server}, "http://braze", body)
			require.NoError(t, err)
			require.Equal(t, http.StatusCreated, res.StatusCode)
			require.Empty(t, server.Violations())
			require.Equal(t, want == 0, <-done != nil)
			require.Len(t, server.Violations(), want)
		})
	}
}
