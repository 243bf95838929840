package brazetest

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"cohortsync/internal/catalog"
)

func TestAcceptedAttributesAreAppliedLaterInAnyOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const within = time.Second
		server := New(Options{APIKey: "s", Seed: 1, ApplyWithin: within})
		server.SetFaults(Faults{Latency: 100 * time.Millisecond})
		reordered, same := 0, 0
		for i := range 50 {
			id, other := fmt.Sprintf("u%d", i), fmt.Sprintf("v%d", i)
			began := time.Now()
			_, _ = told(t, server, attributes(object(id, `"a":true`), object(other, `"a":true`)))
			answered := time.Now()
			require.Equal(t, 100*time.Millisecond, answered.Sub(began))
			require.True(t, server.Accepted("a")[external(id)])
			_, _ = told(t, server, attributes(object(id, `"a":false`)))
			require.False(t, server.Accepted("a")[external(id)])
			time.Sleep(within)

			ops, others := server.Operations("a", external(id)), server.Operations("a", external(other))
			require.Len(t, ops, 2)
			for _, op := range append(ops, others...) {
				late := op.At.Sub(answered)
				if op.Remove {
					late -= 100 * time.Millisecond
				}
				require.True(t, 0 <= late && late < within, late)
			}
			require.False(t, ops[1].At.Before(ops[0].At), "operations stand in the order of their being applied")
			if ops[0].Remove {
				reordered++
			}
			if ops[0].At.Equal(others[0].At) {
				same++
			}
			require.Equal(t, ops[0].Remove, server.Members("a")[external(id)], "the last one applied counts")
			require.True(t, server.Members("a")[external(other)])
		}
		require.Greater(t, reordered, 5, "nothing was reordered")
		require.Less(t, reordered, 45)
		require.Less(t, same, 5, "items of a request are applied each by itself")
		require.NotEqual(t, server.Accepted("a"), server.Members("a"), "a client that does not wait sees the wrong end")
	})
}

func TestAClientThatWaitsSeesWhatWasAccepted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := New(Options{APIKey: "s", ApplyWithin: time.Second})
		for i := range 50 {
			_, _ = told(t, server, attributes(object("u", fmt.Sprintf(`"a":%v`, i%3 == 0)), object("v", `"a":true`)))
			time.Sleep(time.Second)
			require.Equal(t, server.Accepted("a"), server.Members("a"))
		}
		require.Equal(t, map[catalog.Identifier]bool{external("v"): true}, server.Members("a"))
		require.Zero(t, server.later.length())
	})
}

func TestTheLastOperationsAreKeptInTheirOrder(t *testing.T) {
	t.Parallel()
	server := New(Options{APIKey: "s", OperationLimit: 3})
	for i := range 8 {
		_, _ = told(t, server, attributes(object("u", fmt.Sprintf(`"a":%v`, i%2 == 0))))
		var got []int
		for _, op := range server.Operations("a", external("u")) {
			got = append(got, op.Seq)
		}
		var want []int
		for n := max(0, i-2); n <= i; n++ {
			want = append(want, n+1)
		}
		require.Equal(t, want, got)
	}
}
