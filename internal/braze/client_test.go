package braze

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"cohortsync/internal/braze/brazetest"
	"cohortsync/internal/catalog"
)

var errNoLease = errors.New("no lease")

func admitOnly(n int) Admit {
	return func(context.Context) error {
		if n--; n < 0 {
			return errNoLease
		}
		return nil
	}
}

func TestEveryAnswerHasItsClass(t *testing.T) {
	t.Parallel()
	about := func(message string) string { return `{"message":"` + message + `"}` }
	for _, c := range []struct {
		status int
		body   string
		want   Class
	}{
		{200, "", 0},
		{200, "{}", 0},
		{201, about("success"), 0},
		{202, about("queued"), 0},
		{204, "", 0},
		{200, " \n", 0},
		{200, "OK", Unexpected},
		{200, "[]", Unexpected},
		{200, "{", Unexpected},
		{200, brazetest.HTMLPage, Unexpected},
		{301, "", Unexpected},
		{304, "", Unexpected},
		{307, "", Unexpected},
		{400, about("`cohort_id` must be a valid string"), Invalid},
		{400, about("Only 1,000 `user_ids`, `device_ids`, and `aliases` are allowed per request"), Invalid},
		{400, about("`name` must be a non-empty string"), Invalid},
		{400, about("`created_at` must be a valid time as an ISO-8601 string"), Invalid},
		{401, "", Refused},
		{403, "", Refused},
		{404, "", Refused},
		{402, "", Unexpected},
		{405, "", Unexpected},
		{409, "", Unexpected},
		{410, "", Unexpected},
		{422, "", Unexpected},
		{408, "", Unreachable},
		{423, "", Busy},
		{429, "", Limited},
		{500, "", Unreachable},
		{502, brazetest.HTMLPage, Unreachable},
		{503, "", Unreachable},
		{504, "", Unreachable},
		{599, "", Unreachable},
		{600, "", Unexpected},
	} {
		server := newBraze(brazetest.Options{})
		client := newTestCohorts(server.Transport())
		server.Script(func(brazetest.Request) brazetest.Fault { return brazetest.Answer(c.status, c.body) })
		report := client.Deliver(t.Context(), batchOf(3), always)
		class, ok := ClassOf(report.Err)
		require.Equal(t, c.want, class, "%d %s", c.status, c.body)
		require.Equal(t, c.want != 0, ok)
		require.Len(t, server.History(), 1, "%d %s", c.status, c.body)
	}
}

func TestA400ForANamingIsAboutTheRequest(t *testing.T) {
	t.Parallel()
	server := newBraze(brazetest.Options{})
	err := newTestCohorts(server.Transport()).Name(t.Context(), Naming{CohortID: "c1"}, always)
	class, _ := ClassOf(err)
	require.Equal(t, Invalid, class)
	require.ErrorContains(t, err, "`name` must be a non-empty string")
}

func TestAnAliasNameIsNotTheCohortsName(t *testing.T) {
	t.Parallel()
	require.False(t, aboutRequest.MatchString("400 Bad Request: alias_name must be a string"))
	require.True(t, aboutRequest.MatchString("400 Bad Request: name must be a string"))
}

type failing struct{ err error }

func (f failing) RoundTrip(*http.Request) (*http.Response, error) { return nil, f.err }

func TestWithoutAnAnswerBrazeIsUnreachable(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{
		&net.DNSError{Err: "no such host", Name: "rest.iad-01.braze.com", IsNotFound: true},
		io.ErrUnexpectedEOF, errors.New("tls: bad certificate, sent " + dataKey), context.DeadlineExceeded,
	} {
		err := newTestCohorts(failing{cause}).Name(t.Context(), naming(), always)
		class, _ := ClassOf(err)
		require.Equal(t, Unreachable, class)
		require.ErrorIs(t, err, cause)
		require.NotContains(t, err.Error(), dataKey)
	}
}

func TestABodyThatNeverEndsCostsNeitherTimeNorMemory(t *testing.T) {
	t.Parallel()
	for kind, want := range map[brazetest.Kind]Class{
		brazetest.Endless: Unexpected, brazetest.Stalled: Unreachable, brazetest.Silent: Unreachable, brazetest.Reset: Unreachable,
	} {
		synctest.Test(t, func(t *testing.T) {
			server := newBraze(brazetest.Options{})
			server.Queue(brazetest.Fault{Kind: kind})
			started := time.Now()
			err := newTestCohorts(server.Transport()).Name(t.Context(), naming(), always)
			class, _ := ClassOf(err)
			require.Equal(t, want, class, "%v", err)
			require.LessOrEqual(t, time.Since(started), 15*time.Second)
			require.LessOrEqual(t, len(err.Error()), 400)
		})
	}
}

func TestOurOwnEndIsNoFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newBraze(brazetest.Options{})
		server.Queue(brazetest.Fault{Kind: brazetest.Silent})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		report := newTestCohorts(server.Transport()).Deliver(ctx, batchOf(2), always)
		_, ok := ClassOf(report.Err)
		require.False(t, ok)
		require.ErrorIs(t, report.Err, context.DeadlineExceeded)
		require.Equal(t, []Outcome{Retry, Retry}, report.Outcomes)
	})
}

func TestNothingIsSentOnceAdmitRefuses(t *testing.T) {
	t.Parallel()
	server := newBraze(brazetest.Options{})
	client := newTestCohorts(server.Transport())
	report := client.Deliver(t.Context(), batchOf(2), admitOnly(0))
	require.Equal(t, errNoLease, report.Err)
	require.Equal(t, errNoLease, client.Name(t.Context(), naming(), admitOnly(0)))
	require.Empty(t, server.History())
}

func TestARotatedKeyIsReadAnewAfterARefusal(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	current, reads := dataKey, 0
	server := newBraze(brazetest.Options{})
	client := newTestCohorts(server.Transport(), func(o *Options) {
		o.Credentials = func() (string, string, error) {
			mu.Lock()
			defer mu.Unlock()
			reads++
			return partnerKey, current, nil
		}
	})
	require.NoError(t, client.Name(t.Context(), naming(), always))
	require.NoError(t, client.Name(t.Context(), naming(), always))
	require.Equal(t, 1, reads)

	server.SetKeys(partnerKey, "the new key")
	err := client.Name(t.Context(), naming(), always)
	class, _ := ClassOf(err)
	require.Equal(t, Refused, class)
	require.ErrorContains(t, err, "[redacted]", "Braze's 401 echoes the secret")
	require.NotContains(t, err.Error(), dataKey)

	mu.Lock()
	current = "the new key"
	mu.Unlock()
	require.NoError(t, client.Name(t.Context(), naming(), always))
}

func TestKeysThatCannotBeReadSendNothing(t *testing.T) {
	t.Parallel()
	server := newBraze(brazetest.Options{})
	gone := errors.New("no such file")
	client := newTestCohorts(server.Transport(), func(o *Options) {
		o.Credentials = func() (string, string, error) { return "", "", gone }
	})
	report := client.Deliver(t.Context(), batchOf(1), always)
	class, _ := ClassOf(report.Err)
	require.Equal(t, Refused, class)
	require.ErrorIs(t, report.Err, gone)
	require.Empty(t, server.History())
}

func TestARedirectIsNeverFollowed(t *testing.T) {
	t.Parallel()
	elsewhere := newBraze(brazetest.Options{})
	thief := elsewhere.Start()
	defer thief.Close()
	server := newBraze(brazetest.Options{})
	server.Queue(brazetest.Redirect(thief.URL + "/partners/amplitude/cohorts"))
	socket := server.Start()
	defer socket.Close()
	transport := NewTransport()
	defer transport.CloseIdleConnections()
	client := newTestCohorts(transport, func(o *Options) { o.Endpoint = socket.URL })
	class, _ := ClassOf(client.Name(t.Context(), naming(), always))
	require.Equal(t, Unexpected, class)
	require.Empty(t, elsewhere.History())
	require.NoError(t, client.Name(t.Context(), naming(), always), "a real socket serves the next one")
	require.Equal(t, "High LTV", server.Name("c1"))
}

func TestNoSecretIsInErrorsFaultsOrLogs(t *testing.T) {
	t.Parallel()
	secret, quoted := dataKey, `partner\"key&1`
	for _, body := range []string{
		secret, `{"message":"bad ` + secret + `"}`, `{"message":"bad ` + quoted + `"}`, "data%2Fkey%2B2%C3%A9", "partner%22key&1 partner%22key%261",
		strings.Repeat("x", 270) + secret, `partner\"key\u00261`, "partner&#34;key&amp;1", "data/\x00key " + partnerKey,
	} {
		for _, status := range []int{200, 302, 400, 401, 413, 423, 429, 500} {
			var logs bytes.Buffer
			server := newBraze(brazetest.Options{})
			server.Script(func(r brazetest.Request) brazetest.Fault {
				if len(r.Ops) == 0 {
					return brazetest.Fault{}
				}
				return brazetest.Answer(status, body)
			})
			client := newTestCohorts(server.Transport(), func(o *Options) {
				o.Logger = slog.New(slog.NewJSONHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
			})
			report := client.Deliver(t.Context(), batchOf(1), always)
			all := logs.String() + report.Faults[0].Message
			if report.Err != nil {
				all += report.Err.Error()
			}
			if status != http.StatusOK {
				require.NotEmpty(t, all)
			}
			for _, form := range []string{secret, partnerKey, quoted, "data%2Fkey", "partner%22key", "u00261", "#34;key", `2\u00e9`} {
				require.NotContains(t, all, form, "%d %q", status, body)
			}
		}
	}
}

// A secret may differ from its echo: its file ends in more than one newline,
// Braze trims it, an answer escapes it or writes it in capitals.
func TestAnEchoThatIsNotTheSecretsTextIsRedactedToo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ secret, body, leak string }{
		{"s3cr3t-key-value\n", `{"message":"bad s3cr3t-key-value\n"}`, "s3cr3t"},
		{"s3cr3t-key-value\n", `{"message":"bad s3cr3t-key-value"}`, "s3cr3t"},
		{"s3cr3t-key-value ", `{"message":"bad s3cr3t-key-value"}`, "s3cr3t"},
		{"tab\tsecret", `{"message":"bad tab\tsecret"}`, "secret"},
		{"abc/def+ghi==", `{"error":"bad abc\/def+ghi=="}`, "def"},
		{"abc/def+ghi==", `bad abc%2fdef%2bghi%3d%3d`, "def"},
		{"abc/def+ghi==", `{"errors":["bad abc/def+ghi\u003d\u003d"]}`, "def"},
		{`a"b'c&d`, `<p>bad a&quot;b&#39;c&amp;d</p>`, "&#39;c"},
		{"abcdefgh-1234", `{"message":"bad ABCDEFGH-1234"}`, "ABCDEFGH"},
	} {
		server := newBraze(brazetest.Options{})
		server.Script(func(brazetest.Request) brazetest.Fault { return brazetest.Answer(401, c.body) })
		client := newTestCohorts(server.Transport(), func(o *Options) {
			o.Credentials = func() (string, string, error) { return "another-key", c.secret, nil }
		})
		err := client.Name(t.Context(), naming(), always)
		require.ErrorContains(t, err, "401 Unauthorized")
		require.NotContains(t, err.Error(), c.leak, "%q", c.body)
	}
}

// Of half a secret no form is known.
func TestAnAnswerThatIsCutOffTellsNothing(t *testing.T) {
	t.Parallel()
	body := "client secret: " + dataKey[:6]
	for _, a := range []answer{{status: 401, body: []byte(body), err: io.ErrUnexpectedEOF}, {status: 500, body: []byte(body), cut: true}} {
		err := a.judge(&credentials{api: dataKey}, &call{judge: judgeMembers})
		require.NotContains(t, err.Error(), dataKey[:6])
		require.ErrorContains(t, err, "cut off")
	}
}

// What a message is cut to must not end in the beginning of a secret, in what is
// left of a longer one, or in half a character.
func TestAMessageIsRedactedWholeAndThenCut(t *testing.T) {
	t.Parallel()
	keys := &credentials{partner: "key-1", api: "key-1-and-more"}
	require.Equal(t, "bad [redacted]!", keys.redact("bad key-1-and-more!"))
	require.Equal(t, strings.Repeat("x", 297)+"[re", keys.redact(strings.Repeat("x", 297)+"key-1-and-more"))
	require.Equal(t, "x"+strings.Repeat("é", 149), keys.redact("x"+strings.Repeat("é", 150)))
}

// It begins as a success does, but nobody knows how it ends.
func TestAnAnswerThatGoesOnForTooLongIsNoSuccess(t *testing.T) {
	t.Parallel()
	for length, want := range map[int]Class{maxAnswer: 0, maxAnswer + 1: Unexpected} {
		server := newBraze(brazetest.Options{})
		server.Queue(brazetest.Answer(http.StatusCreated, "{}"+strings.Repeat(" ", length-2)))
		class, _ := ClassOf(newTestCohorts(server.Transport()).Name(t.Context(), naming(), always))
		require.Equal(t, want, class, "%d bytes", length)
	}
}

// Of the requests in flight with an old key, one may be refused after another
// has had the new one read.
func TestALateRefusalOfOldKeysLeavesTheNewOnes(t *testing.T) {
	t.Parallel()
	reads := 0
	client := newTestCohorts(nil, func(o *Options) {
		o.Credentials = func() (string, string, error) {
			reads++
			return partnerKey, dataKey, nil
		}
	}).client
	old, err := client.load()
	require.NoError(t, err)
	for range 3 {
		client.forget(old)
		_, err = client.load()
		require.NoError(t, err)
	}
	require.Equal(t, 2, reads)
}

func TestADeadHTTP2ConnectionIsFoundByPings(t *testing.T) {
	t.Parallel()
	transport := NewTransport()
	require.NotNil(t, transport.HTTP2)
	require.Less(t, transport.HTTP2.SendPingTimeout+transport.HTTP2.PingTimeout, 15*time.Second, "within one request_timeout")
	require.Positive(t, transport.HTTP2.SendPingTimeout)
}

func TestARedirectToNowhereIsUnexpected(t *testing.T) {
	t.Parallel()
	server := newBraze(brazetest.Options{})
	server.Queue(brazetest.Redirect("https://exa mple.com/%zz"))
	class, _ := ClassOf(newTestCohorts(server.Transport()).Name(t.Context(), naming(), always))
	require.Equal(t, Unexpected, class)
}

func TestANamingsTimeIsAlwaysOne(t *testing.T) {
	t.Parallel()
	for _, at := range []time.Time{{}, time.UnixMicro(1<<63 - 1), time.UnixMicro(-1 << 62), time.Unix(1692206763, 0)} {
		server := newBraze(brazetest.Options{})
		n := naming()
		n.CreatedAt = at
		require.NoError(t, newTestCohorts(server.Transport()).Name(t.Context(), n, always), "%v", at)
	}
}

// A search for many identifiers at fault takes many requests, of which some
// fail. Were it given up each time, it would never end.
func TestADivisionOutlastsFailuresThatPass(t *testing.T) {
	t.Parallel()
	for _, bad := range []int{60, 200} {
		server := newBraze(brazetest.Options{Seed: 1, Bad: func(id catalog.Identifier) bool {
			n, err := strconv.Atoi(strings.TrimPrefix(id.Value, "u"))
			return err == nil && n < bad
		}})
		server.Script(func(r brazetest.Request) brazetest.Fault {
			if r.Seq > 1 && r.Seq%10 == 0 {
				return brazetest.Answer(503, "")
			}
			return brazetest.Fault{}
		})
		report := newTestCohorts(server.Transport()).Deliver(t.Context(), batchOf(200), always)
		if bad == 200 {
			class, _ := ClassOf(report.Err)
			require.Equal(t, Invalid, class, "%v", report.Err)
			continue
		}
		require.NoError(t, report.Err)
		require.Len(t, report.Faults, bad)
	}
}

// Only a failure that passes is worth another attempt here: a key that is
// refused is for the caller's lock and its probe.
func TestARefusalEndsADivisionAtOnce(t *testing.T) {
	t.Parallel()
	server := newBraze(brazetest.Options{})
	server.Script(func(r brazetest.Request) brazetest.Fault {
		if len(r.Ops) == 4 {
			return brazetest.Answer(http.StatusBadRequest, `{"message":"somebody is at fault"}`)
		}
		return brazetest.Answer(http.StatusUnauthorized, "")
	})
	report := newTestCohorts(server.Transport()).Deliver(t.Context(), batchOf(4), always)
	class, _ := ClassOf(report.Err)
	require.Equal(t, Refused, class)
	require.Len(t, server.History(), 2)
}

func TestRequestsAreShapedAsBrazeWantsThem(t *testing.T) {
	t.Parallel()
	keys := &credentials{partner: "p", api: "s"}
	id := func(kind catalog.Kind, value, label string) catalog.Identifier {
		return catalog.Identifier{Kind: kind, Value: value, Label: label}
	}
	enter := []Item{{Identifier: id(catalog.ExternalID, "a", "")}, {Identifier: id(catalog.UserAlias, "n", "l")}}
	leave := []Item{{Identifier: id(catalog.DeviceID, "d", ""), Remove: true}}
	const (
		head = `{"partner_api_key":"p","client_secret":"s","cohort_id":"c","cohort_changes":[`
		in   = `{"user_ids":["a"],"device_ids":[],"aliases":[{"alias_name":"n","alias_label":"l"}]}`
		out  = `{"user_ids":[],"device_ids":["d"],"aliases":[],"should_remove":true}`
	)
	require.Equal(t, head+in+","+out+"]}", string(membersBody(keys, "c", append(enter[:2:2], leave...))))
	require.Equal(t, head+in+"]}", string(membersBody(keys, "c", enter)))
	require.Equal(t, head+out+"]}", string(membersBody(keys, "c", leave)))
	require.Equal(t, head+"]}", string(membersBody(keys, "c", nil)))
	require.Equal(t, `{"partner_api_key":"p","client_secret":"s","cohort_id":"c1","name":"High LTV","created_at":"2023-08-16T17:26:03Z"}`,
		string(nameBody(keys, naming())))
}

// https://www.braze.com/docs/partners/isv_partners/api_partner
func TestEveryRequestNamesThePartnerAndItsVersion(t *testing.T) {
	t.Parallel()
	server := newBraze(brazetest.Options{})
	client := newTestCohorts(server.Transport())
	require.NoError(t, client.Name(t.Context(), naming(), always))
	require.NoError(t, client.Deliver(t.Context(), batchOf(1), always).Err)
	history := server.History()
	require.Len(t, history, 2)
	for _, request := range history {
		require.Equal(t, "partner-Cohortsync-Cohortsync/1.2.3", request.UserAgent)
	}
}

func TestStringsSurviveTheirEncoding(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(
			rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
			rapid.String(),
			rapid.StringMatching(`[ -~]{0,20}`),
			rapid.StringMatching(`[a-z]{0,20}[\x00\x1f\x7f"\\é]?[a-z]{0,20}`),
		).Draw(t, "text")
		var got string
		require.NoError(t, json.Unmarshal(appendString(nil, s), &got))
		require.Equal(t, string([]rune(s)), got, "each byte that is not UTF-8 becomes U+FFFD")
		require.NotContains(t, string(appendString(nil, s)), "\x7f", "whoever prints it")
	})
}

// Strings are looked at eight bytes at a time, and short ones byte by byte.
func TestEveryOddByteIsSeenWhereverItStands(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		for length := 1; length <= 17; length++ {
			for at := range length {
				s := []byte(strings.Repeat("a", length))
				s[at] = byte(c)
				odd := c < ' ' || c >= 0x7f || c == '"' || c == '\\'
				require.Equal(t, !odd, isPlain(string(s)), "%q", s)
			}
		}
	}
}

func TestAllMetricsAreThereFromTheStart(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	newTestCohorts(failing{}, func(o *Options) { o.Metrics = NewMetrics(registry) })
	families, err := registry.Gather()
	require.NoError(t, err)
	series := make(map[string]int)
	for _, f := range families {
		series[f.GetName()] = len(f.GetMetric())
	}
	require.Equal(t, map[string]int{
		"cohortsync_braze_requests_total": 2 * 10, "cohortsync_braze_request_duration_seconds": 2,
		"cohortsync_braze_rate_limit_limit": 1, "cohortsync_braze_rate_limit_remaining": 1,
		"cohortsync_braze_held_until_timestamp_seconds": 1, "cohortsync_braze_breaker_open": 1,
	}, series)
}

func TestOverASocketABodyThatNeverEndsIsGivenUp(t *testing.T) {
	t.Parallel()
	for kind, want := range map[brazetest.Kind]Class{brazetest.Endless: Unexpected, brazetest.Stalled: Unreachable} {
		server := newBraze(brazetest.Options{})
		socket := server.Start()
		t.Cleanup(socket.Close)
		transport := NewTransport()
		t.Cleanup(transport.CloseIdleConnections)
		client := newTestCohorts(transport, func(o *Options) { o.Endpoint = socket.URL })
		if kind == brazetest.Stalled {
			client.client.o.RequestTimeout = 200 * time.Millisecond
		}
		server.Queue(brazetest.Fault{Kind: kind})
		class, _ := ClassOf(client.Name(t.Context(), naming(), always))
		require.Equal(t, want, class)
	}
}
