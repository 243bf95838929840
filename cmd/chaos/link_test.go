//go:build unix

package main

import (
	"bufio"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// What toxiproxy holds when a connection is cut it drops, and with it the
// goroutine that would have passed it on.
func TestMain(m *testing.M) {
	const toxiproxy = "github.com/Shopify/toxiproxy/v2"
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(toxiproxy+"/toxics.(*ToxicStub).Run"),
		goleak.IgnoreAnyFunction(toxiproxy+".(*ToxicLink).read"), goleak.IgnoreAnyFunction(toxiproxy+".(*ToxicLink).write"))
}

// echo serves lines back until the test ends, and tells of each that came.
func echo(t *testing.T) (address string, came <-chan string) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	lines, ended := make(chan string, 10), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			for r := bufio.NewReader(conn); ; {
				line, err := r.ReadString('\n')
				if err != nil {
					break
				}
				lines <- line
				_, _ = conn.Write([]byte(line))
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-ended
	})
	return listener.Addr().String(), lines
}

func openLink(t *testing.T, to string) *link {
	t.Helper()
	l, err := newLink(newProxies(), "test", false, "127.0.0.1:0", to)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.cut()) })
	return l
}

func dial(t *testing.T, l *link) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.address())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	return conn
}

func say(t *testing.T, conn net.Conn, line string) {
	t.Helper()
	_, err := conn.Write([]byte(line))
	require.NoError(t, err)
}

func hear(conn net.Conn) (string, error) { return bufio.NewReader(conn).ReadString('\n') }

func TestALinkThatIsCutEndsItsConnectionsAndTakesNewOnesAtTheSameAddress(t *testing.T) {
	t.Parallel()
	to, _ := echo(t)
	l := openLink(t, to)
	at := l.address()
	conn := dial(t, l)
	say(t, conn, "one\n")
	answer, err := hear(conn)
	require.NoError(t, err)
	require.Equal(t, "one\n", answer)
	require.NoError(t, l.cut())
	_, err = hear(conn)
	require.Error(t, err)
	_, err = (&net.Dialer{}).DialContext(t.Context(), "tcp", at)
	require.Error(t, err, "it refuses connections")
	require.NoError(t, l.open())
	require.Equal(t, at, l.address())
	conn = dial(t, l)
	say(t, conn, "two\n")
	answer, err = hear(conn)
	require.NoError(t, err)
	require.Equal(t, "two\n", answer)
}

func TestWhatALinkHoldsWhenItIsCutIsDropped(t *testing.T) {
	t.Parallel()
	to, came := echo(t)
	l := openLink(t, to)
	conn := dial(t, l)
	say(t, conn, "before\n")
	require.Equal(t, "before\n", <-came)
	require.NoError(t, l.delay(60_000))
	say(t, conn, "held\n")
	require.NoError(t, l.cut())
	require.NoError(t, l.heal())
	require.NoError(t, l.open())
	conn = dial(t, l)
	say(t, conn, "after\n")
	require.Equal(t, "after\n", <-came, "what was held never came")
}

func TestALinkSwallowsOneDirection(t *testing.T) {
	t.Parallel()
	to, came := echo(t)
	l := openLink(t, to)
	conn := dial(t, l)
	require.NoError(t, l.swallow(back))
	say(t, conn, "there\n")
	require.Equal(t, "there\n", <-came, "the other direction lives")
	require.NoError(t, l.heal())
	_, err := hear(conn)
	require.Error(t, err, "a connection that has swallowed something ends")
	conn = dial(t, l)
	say(t, conn, "again\n")
	answer, err := hear(conn)
	require.NoError(t, err)
	require.Equal(t, "again\n", answer)
}
