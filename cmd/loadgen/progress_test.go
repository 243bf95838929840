package main

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProgressIsALineEveryFiveSeconds(t *testing.T) {
	t.Parallel()
	require.Equal(t,
		"   5 s  1 records  500 changes of 4000  100/s\n"+
			"  10 s  3 records  1500 changes of 4000  200/s  sending again to 2 partitions, such as 1: no leader\n",
		shown(t, false, 12*time.Second))
}

func TestProgressIsDrawnInPlaceOnATerminal(t *testing.T) {
	t.Parallel()
	require.Equal(t, "\r\x1b[K   1 s  1 records  500 changes of 4000  500/s"+
		"\r\x1b[K   2 s  1 records  500 changes of 4000  0/s"+
		"\r\x1b[K", shown(t, true, 2500*time.Millisecond))
}

// shown returns what is shown of a run: a record of 500 users at once, and two
// more, with trouble, after six seconds.
func shown(t *testing.T, terminal bool, lasting time.Duration) string {
	t.Helper()
	var out bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		count := new(tally)
		p := newProgress(&out, count, 4000)
		p.terminal = terminal
		ctx, cancel := context.WithTimeout(t.Context(), lasting)
		defer cancel()
		var screen sync.WaitGroup
		screen.Go(func() { p.show(ctx) })
		many := record{people: stretch{users: 500}}
		count.acknowledged(many)
		time.Sleep(6 * time.Second)
		count.acknowledged(many)
		count.acknowledged(many)
		count.trouble(0, errors.New("gone"))
		count.trouble(3, errors.New("gone"))
		count.trouble(1, errors.New("no leader"))
		count.trouble(0, nil)
		screen.Wait()
	})
	return out.String()
}
