package main

import (
	"context"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"cohortsync/internal/braze"
	"cohortsync/internal/catalog"
)

// workersOptions are for the worker's own clients, in front of brazesim.
func (r *rig) workersOptions(key *string) braze.Options {
	soon := func(n int64) int64 { return rand.Int64N(n) / 10_000 }
	return braze.Options{
		Target: "Test", Endpoint: r.url, Partner: "amplitude",
		Credentials:    func() (string, string, error) { return "partner", *key, nil },
		RequestTimeout: 15 * time.Second, Transport: r.client.Transport,
		Throttle:   braze.NewThrottle(catalog.Limit{Requests: 250_000, Per: time.Hour, Burst: 70}, braze.ThrottleOptions{Now: time.Now, Rand: soon}),
		NewBackOff: func() backoff.BackOff { return braze.NewBackOff(soon) },
		Metrics:    braze.NewMetrics(prometheus.NewRegistry()), Version: "1.2.3", Now: time.Now,
	}
}

// batch is some users who enter, u3 who leaves, and one whom Braze refuses.
func batch() braze.Batch {
	b := braze.Batch{CohortID: "c1", Attribute: "cohort_c1"}
	for _, value := range []string{"u1", "bad-1", "u2", "u3"} {
		b.Items = append(b.Items, braze.Item{Identifier: catalog.Identifier{Kind: catalog.ExternalID, Value: value}, Remove: value == "u3"})
	}
	b.Items = append(b.Items, braze.Item{Identifier: catalog.Identifier{Kind: catalog.UserAlias, Label: "crm", Value: "C-1"}})
	return b
}

const entered = `{"kind":"user_alias","label":"crm","value":"C-1"}
{"kind":"external_id","label":"","value":"u1"}
{"kind":"external_id","label":"","value":"u2"}
`

func outcomes() []braze.Outcome {
	return []braze.Outcome{braze.Delivered, braze.AtFault, braze.Delivered, braze.Delivered, braze.Delivered}
}

func always(context.Context) error { return nil }

func TestTheWorkersCohortsClientTakesItForBraze(t *testing.T) {
	t.Parallel()
	r := start(t, "--partner-key=partner", "--api-key=secret", "--bad-prefix=bad-")
	key := "wrong"
	client := braze.NewCohorts(r.workersOptions(&key))
	naming := braze.Naming{CohortID: "c1", Name: "High LTV", CreatedAt: time.Unix(1692206763, 0)}
	class, ok := braze.ClassOf(client.Name(t.Context(), naming, always))
	require.True(t, ok)
	require.Equal(t, braze.Refused, class)
	key = "secret"
	require.NoError(t, client.Name(t.Context(), naming, always))
	report := client.Deliver(t.Context(), batch(), always)
	require.NoError(t, report.Err)
	require.Equal(t, outcomes(), report.Outcomes)
	_, text := r.ask(t, http.MethodGet, "/admin/cohorts/c1/members", "")
	require.Equal(t, entered, text)
	var c counters
	r.admin(t, http.MethodGet, "/admin/counters", "", http.StatusOK, &c)
	require.Zero(t, c.Violations.Count, c.Violations.Last)
	require.Equal(t, 1, c.Requests["cohorts"]["401"])
}

func TestTheWorkersAttributesClientTakesItForBraze(t *testing.T) {
	t.Parallel()
	r := start(t, "--api-key=secret", "--bad-prefix=bad-", "--apply-within=0s")
	key := "wrong"
	client := braze.NewAttributes(r.workersOptions(&key))
	report := client.Deliver(t.Context(), batch(), always)
	class, ok := braze.ClassOf(report.Err)
	require.True(t, ok)
	require.Equal(t, braze.Refused, class)
	key = "secret"
	report = client.Deliver(t.Context(), batch(), always)
	require.NoError(t, report.Err)
	require.Equal(t, outcomes(), report.Outcomes)
	_, text := r.ask(t, http.MethodGet, "/admin/cohorts/cohort_c1/members", "")
	require.Equal(t, entered, text)
	var c counters
	r.admin(t, http.MethodGet, "/admin/counters", "", http.StatusOK, &c)
	require.Zero(t, c.Violations.Count, c.Violations.Last)
	require.Equal(t, 1, c.Requests["users/track"]["401"])
}
