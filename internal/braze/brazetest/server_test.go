package brazetest

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"cohortsync/internal/catalog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func post(ctx context.Context, t *testing.T, carrier http.RoundTripper, base, path, body string) (*http.Response, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/partners/amplitude/cohorts"+path, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("User-Agent", "partner-Test-Test/1")
	res, err := carrier.RoundTrip(req)
	if err != nil {
		return nil, "", err
	}
	defer func() { require.NoError(t, res.Body.Close()) }()
	said, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res, string(said), nil
}

const (
	keys   = `{"partner_api_key":"p","client_secret":"s","cohort_id":"c",`
	naming = keys + `"name":"N","created_at":"2021-01-21T19:20:30+05:00"}`
)

func members(ids string) string { return keys + `"cohort_changes":[{"user_ids":[` + ids + `]}]}` }

func TestAnswersAreTheDocumentedOnes(t *testing.T) {
	t.Parallel()
	many := strings.TrimSuffix(strings.Repeat(`"a",`, 1001), ",")
	for _, c := range []struct {
		path, body string
		status     int
		text       string
	}{
		{"", naming, 201, "success"},
		{"/users", members(`"a"`), 201, "success"},
		{"/users", keys + `"cohort_changes":[]}`, 201, "success"},
		{"/users", keys + `"cohort_changes":[{"user_ids":[]}]}`, 201, "success"},
		{"/users", keys + `"cohort_changes":[{"device_ids":["d"]}]}`, 201, "success"},
		{"/users", keys + `"cohort_changes":[{"aliases":[{"alias_name":"n","alias_label":"l"}]}]}`, 201, "success"},
		{"", strings.Replace(naming, `"p"`, `"x"`, 1), 401, "Invalid Partner API key"},
		{"", strings.Replace(naming, `"s"`, `"x"`, 1), 401, "client secret: x"},
		{"", strings.Replace(naming, `"c"`, `""`, 1), 400, "`cohort_id` must be a valid string"},
		{"", strings.Replace(naming, `"N"`, `""`, 1), 400, "`name` must be a non-empty string"},
		{"", strings.Replace(naming, "2021", "x", 1), 400, "`created_at` must be a valid time"},
		{"/users", members(many), 400, "Only 1,000"},
		{"/users", members(`1`), 400, "`cohort_changes` must be an array"},
		{"/users", keys + `"x":1}`, 400, "`cohort_changes` must be an array"},
		{"/users", keys + `"cohort_changes":[{}]}`, 400, "`cohort_changes` must be an array"},
		{"/users", keys + `"cohort_changes":[{"user_ids":["a"]},{"should_remove":true}]}`, 400, "`cohort_changes` must be an array"},
		{"/users", keys + `"cohort_changes":[{"user_ids":null}]}`, 400, "`cohort_changes` must be an array"},
		{"/users", keys + `"cohort_changes":[null]}`, 400, "`cohort_changes` must be an array"},
		{"/users", members(`"bad"`), 400, "`cohort_changes` must be an array"},
		{"/elsewhere", naming, 404, "Invalid URL"},
	} {
		server := New(Options{PartnerKey: "p", APIKey: "s", Bad: func(id catalog.Identifier) bool { return id.Value == "bad" }})
		res, said, err := post(t.Context(), t, server.Transport(), "http://braze", c.path, c.body)
		require.NoError(t, err)
		require.Equal(t, c.status, res.StatusCode, said)
		require.Contains(t, said, c.text)
		require.Equal(t, c.status == 201, server.History()[0].Applied)
	}
}

func TestUnknownUsersAndDevicesOfIdentifiedOnesAreIgnored(t *testing.T) {
	t.Parallel()
	server := New(Options{
		Known:      func(id catalog.Identifier) bool { return id.Value != "stranger" },
		Identified: func(device string) bool { return device == "phone" },
	})
	_, _, err := post(t.Context(), t, server.Transport(), "http://braze", "/users",
		keys+`"cohort_changes":[{"user_ids":["a","stranger"],"device_ids":["phone","tablet"]}]}`)
	require.NoError(t, err)
	require.Equal(t, map[catalog.Identifier]bool{
		{Kind: catalog.ExternalID, Value: "a"}: true, {Kind: catalog.DeviceID, Value: "tablet"}: true,
	}, server.Members("c"))
}

func TestACohortInFlightIsLocked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := New(Options{})
		server.SetFaults(Faults{Latency: time.Second})
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _, err := post(t.Context(), t, server.Transport(), "http://braze", "", naming)
			if err != nil {
				t.Errorf("naming: %v", err)
			}
		}()
		synctest.Wait()
		res, _, err := post(t.Context(), t, server.Transport(), "http://braze", "", naming)
		require.NoError(t, err)
		require.Equal(t, http.StatusLocked, res.StatusCode)
		<-done
		require.Len(t, server.Violations(), 1)
		require.Equal(t, []Cohort{{ID: "c", Name: "N"}}, server.Cohorts())
	})
}

func TestWhatIsAppliedAndLostIsAppliedByTheDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := New(Options{})
		for latency, want := range map[time.Duration]time.Duration{time.Second: time.Second, time.Minute: 15 * time.Second} {
			server.SetFaults(Faults{Latency: latency, AppliedThenLost: 1})
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			_, _, err := post(ctx, t, server.Transport(), "http://braze", "/users", members(`"a"`))
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, 15*time.Second, time.Since(began))
			ops := server.Operations("c", catalog.Identifier{Kind: catalog.ExternalID, Value: "a"})
			require.Equal(t, want, ops[len(ops)-1].At.Sub(began))
		}
	})
}

func TestViolationsAreNoted(t *testing.T) {
	t.Parallel()
	server := New(Options{})
	_, _, err := post(t.Context(), t, server.Transport(), "http://braze", "/users", members(`"a","a"`))
	require.NoError(t, err)
	require.Len(t, server.Violations(), 2, "an identifier twice, in a cohort without a name")
}

func TestItServesSockets(t *testing.T) {
	t.Parallel()
	server := New(Options{})
	socket := server.Start()
	defer socket.Close()
	carrier := &http.Transport{}
	defer carrier.CloseIdleConnections()
	res, _, err := post(t.Context(), t, carrier, socket.URL, "", naming)
	require.NoError(t, err)
	require.Equal(t, http.StatusCreated, res.StatusCode)
	server.Queue(Fault{Kind: Reset})
	_, _, err = post(t.Context(), t, carrier, socket.URL, "", naming)
	require.Error(t, err)
	require.Equal(t, "N", server.Name("c"))
	require.Empty(t, server.Violations())
}
