package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// demoFor plays the demo and returns what it printed.
func demoFor(t *testing.T, o options) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), o, &out))
	return out.String()
}

// number returns the number before or after a text that the last word has.
func number(t *testing.T, printed, pattern string) int {
	t.Helper()
	match := regexp.MustCompile(pattern).FindStringSubmatch(printed)
	require.NotNil(t, match, "%s is not in\n%s", pattern, printed)
	n, err := strconv.Atoi(match[1])
	require.NoError(t, err)
	return n
}

func TestTheDemosLastWordAccountsForEveryChange(t *testing.T) {
	t.Parallel()
	o := options{Duration: 4 * time.Second, Rate: 2000, Dir: t.TempDir(), Listen: "127.0.0.1:0", Seed: 1, Faults: true}
	first := demoFor(t, o)
	require.Contains(t, first, "/metrics\n")
	read := number(t, first, `Of (\d+) changes read`)
	delivered := number(t, first, `(\d+) were delivered`)
	parts := delivered
	for _, part := range []string{"were coalesced", "went to the dead-letter", "could not be sent", "were not delivered yet"} {
		parts += number(t, first, `(\d+) `+part)
	}
	require.Equal(t, read, parts, first)
	require.Positive(t, delivered, first)

	// The log is kept, and the next run goes on where this one stopped.
	uncommitted := 0
	if !regexp.MustCompile("All of the log is committed").MatchString(first) {
		uncommitted = number(t, first, `: (\d+) records are not committed`)
	}
	o.Rate, o.Faults = 10, false
	second := demoFor(t, o)
	require.GreaterOrEqual(t, number(t, second, `Of (\d+) changes read`), uncommitted, second)
}

func TestTheDemoSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = taken.Close() })
	for name, tt := range map[string]struct {
		o    options
		want string
	}{
		"a rate too low": {options{Rate: 5}, "--rate is 5"},
		"a port that is taken": {
			options{Rate: 10, Dir: t.TempDir(), Listen: taken.Addr().String()},
			fmt.Sprintf("opening the address of health and metrics: listen tcp %s", taken.Addr()),
		},
		"a folder that cannot be made": {options{Rate: 10, Dir: "/dev/null/demo"}, "making the demo's folder"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.ErrorContains(t, run(t.Context(), tt.o, new(bytes.Buffer)), tt.want)
		})
	}
}

func TestASecondDemoIsKeptOutOfTheFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := os.Create(filepath.Join(dir, "worker.log"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = first.Close() })
	require.NoError(t, lock(first))
	err = run(t.Context(), options{Rate: 10, Dir: dir, Listen: "127.0.0.1:0"}, new(bytes.Buffer))
	require.ErrorContains(t, err, "another demo uses "+dir)
}

func TestTheScreenIsDrawnInPlaceOnATerminal(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := &screen{out: &out, terminal: true, began: time.Now()}
	members := []cohortMembers{{"VIP", 7}}
	s.show(figures{"cohortsync_changes_consumed_total": 10}, members, "")
	rows := bytes.Count(out.Bytes(), []byte("\n"))
	require.NotContains(t, out.String(), "\x1b")
	out.Reset()
	s.show(figures{"cohortsync_changes_consumed_total": 25}, members, "")
	require.Contains(t, out.String(), fmt.Sprintf("\x1b[%dA\x1b[J", rows), "it goes up as many rows as it had drawn")
	require.Regexp(t, `changes in +25 +\+15/s`, out.String())
	require.Regexp(t, `VIP +7`, out.String())
}

func TestTheScreenSaysHowBrazeStands(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	for want, f := range map[string]figures{
		"takes requests":                {},
		"asks to wait, 3 s more":        {"cohortsync_braze_held_until_timestamp_seconds": 1003},
		"fails; asked again in 2 s":     {"cohortsync_braze_breaker_open": 1, "cohortsync_braze_held_until_timestamp_seconds": 1002},
		"refuses; the target is locked": {"cohortsync_target_locked": 1},
	} {
		require.Equal(t, want, standing(f, now))
	}
}
