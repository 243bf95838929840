package braze

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"cohortsync/internal/braze/brazetest"
)

func TestAProbeShowsGoodCredentialsAndChangesNothing(t *testing.T) {
	t.Parallel()
	server := newBraze(brazetest.Options{})
	require.NoError(t, newTestCohorts(server.Transport()).Probe(t.Context()))

	history := server.History()
	require.Len(t, history, 1)
	require.False(t, history[0].Naming)
	require.Empty(t, history[0].Ops)
	require.Equal(t, http.StatusCreated, history[0].Status)
	require.Empty(t, server.Cohorts())
	require.Zero(t, server.Count(probeCohort))
	require.Empty(t, server.Violations())
}

func TestAProbeTellsWhatBrazeSays(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		status int
		body   string
		want   Class
	}{
		{401, `{"message":"Invalid Partner API key"}`, Refused},
		{403, "", Refused},
		{404, `{"message":"Invalid URL"}`, Refused},
		{400, `{"message":"bad"}`, Invalid},
		{413, "", Unexpected},
		{423, "", Busy},
		{429, "", Limited},
		{503, "", Unreachable},
		{302, "", Unexpected},
		{200, brazetest.HTMLPage, Unexpected},
	} {
		server := newBraze(brazetest.Options{})
		server.Queue(brazetest.Answer(row.status, row.body))
		class, ok := ClassOf(newTestCohorts(server.Transport()).Probe(t.Context()))
		require.True(t, ok, "%d", row.status)
		require.Equal(t, row.want, class, "%d", row.status)
		require.Len(t, server.History(), 1, "it is not repeated")
	}
}

func TestAProbeWithAWrongKeyNamesNoKey(t *testing.T) {
	t.Parallel()
	server := newBraze(brazetest.Options{})
	server.SetKeys(partnerKey, "another")
	err := newTestCohorts(server.Transport()).Probe(t.Context())
	class, _ := ClassOf(err)
	require.Equal(t, Refused, class)
	require.ErrorContains(t, err, "401 Unauthorized: Partner not enabled")
	require.NotContains(t, err.Error(), dataKey)
}

func TestAProbeOfABrazeThatIsSilentEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := newBraze(brazetest.Options{})
		server.Queue(brazetest.Fault{Kind: brazetest.Silent}, brazetest.Fault{Kind: brazetest.Silent})
		client := newTestCohorts(server.Transport())

		class, _ := ClassOf(client.Probe(t.Context()))
		require.Equal(t, Unreachable, class, "at the request's own end")

		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		err := client.Probe(ctx)
		require.ErrorIs(t, err, context.Canceled)
		var failed *Error
		require.NotErrorAs(t, err, &failed, "our own end is no finding")
	})
}
