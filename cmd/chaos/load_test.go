//go:build unix

package main

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheLoadHasOneUserAndManyPoisonLatenessAndTrash(t *testing.T) {
	t.Parallel()
	l := &load{rng: rand.New(rand.NewPCG(1, 1))}
	var single, many, trash, empty int
	for n := range 5000 {
		r := l.record(n % cohorts)
		require.EqualValues(t, n%cohorts%partitions, r.Partition, "a cohort is in one partition")
		var event struct {
			Users []person
		}
		switch {
		case r.Value == nil:
			empty++
		case json.Unmarshal(r.Value, &event) != nil:
			trash++
		case len(event.Users) > 1:
			many++
		default:
			single++
		}
	}
	require.Greater(t, single, many)
	require.Positive(t, many)
	require.Positive(t, trash)
	require.Positive(t, empty)
	require.Positive(t, l.late.Load())
	require.Positive(t, l.poison.Load())
}

func TestPoisonIsTooLittleToBeTakenForAWrongRequest(t *testing.T) {
	t.Parallel()
	n := 0
	for i := range people {
		if strings.HasPrefix(personOf(i).UserID, poison) {
			n++
			require.Empty(t, personOf(i).DeviceID, "whom Braze refuses has no identifier that it takes")
			require.Empty(t, personOf(i).Properties)
		}
	}
	require.Positive(t, n)
	require.Less(t, n, 10)
}

func TestFaultsAreChosenByName(t *testing.T) {
	t.Parallel()
	all, err := choose(nil, true)
	require.NoError(t, err)
	require.Len(t, all, len(faults()))
	some, err := choose([]string{"freeze", "429"}, true)
	require.NoError(t, err)
	require.Len(t, some, 2)
	embedded, err := choose(nil, false)
	require.NoError(t, err)
	for _, f := range embedded {
		require.False(t, f.apache, f.name)
	}
	_, err = choose([]string{"meteor"}, true)
	require.ErrorContains(t, err, `there is no fault "meteor"`)
	require.ErrorContains(t, err, "freeze")
}
