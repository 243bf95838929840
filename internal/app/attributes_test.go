package app_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cohortsync/internal/braze/brazetest"
)

// The whole way on the attributes API, over real sockets: a boolean custom
// attribute for each cohort, no naming, bad users dead-lettered by themselves,
// and never a user who could be created.
func TestTheAttributesAPIKeepsMembershipsInAttributes(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 2)
	braze, url := startBraze(t, brazetest.Options{Bad: isBad, ApplyWithin: 500 * time.Millisecond})
	w := startMain(t, cluster, target{endpoint: url, api: "attributes", more: "    reorder_guard: 600ms"})
	client := connect(t, cluster)

	produce(t, client, entered("c1", "u1", "u2", "bad-1", "u3"))
	awaitMembers(t, braze, "cohort_c1", "u1", "u2", "u3")
	produce(t, client, left("c1", "u2"), entered("c1", "u2"), left("c1", "u3"))
	awaitMembers(t, braze, "cohort_c1", "u1", "u2")
	awaitCommitted(t, cluster, group)

	letter := letters(t, cluster, 1)[0]
	require.Contains(t, string(letter.Value), "bad-1")
	require.NotContains(t, string(letter.Value), "u1")
	require.Equal(t, "provided external_id is blacklisted and disallowed", header(letter, "message"))
	require.Equal(t, "201", header(letter, "status"))

	require.Empty(t, braze.Violations())
	for _, r := range braze.History() {
		require.True(t, r.Track, "%+v", r)
	}
	require.Positive(t, w.metric(t, "braze_requests_total", "endpoint=track", "class=partial"))
	w.keepsSecrets(t)
}

func TestAWrongKeyOfTheAttributesAPILocksTheTarget(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	braze, url := startBraze(t, brazetest.Options{})
	braze.SetKeys(partnerKey, "another-key")
	w := startMain(t, cluster, target{endpoint: url, api: "attributes"})
	produce(t, connect(t, cluster), entered("c1", "u1"))
	eventually(t, func() bool { return len(w.ready(t).Targets[0].Locked) == 1 }, "the target is locked")
	braze.SetKeys(partnerKey, apiKey)
	awaitMembers(t, braze, "cohort_c1", "u1")
	w.keepsSecrets(t)
}
