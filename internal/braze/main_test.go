package braze

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"cohortsync/internal/braze/brazetest"
	"cohortsync/internal/catalog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	partnerKey = `partner"key&1`
	dataKey    = "data/key+2é"
)

func always(context.Context) error { return nil }

func newThrottle() *Throttle {
	return NewThrottle(catalog.Limit{Requests: 250_000, Per: time.Hour, Burst: 70},
		ThrottleOptions{Now: time.Now, Rand: rand.Int64N})
}

// testOptions are for a client in front of the transport, changed by edit.
func testOptions(transport http.RoundTripper, edit ...func(*Options)) Options {
	o := Options{
		Target: "Test", Endpoint: "https://rest.iad-01.braze.com", Partner: "amplitude",
		Credentials:    func() (string, string, error) { return partnerKey, dataKey, nil },
		RequestTimeout: 15 * time.Second, Throttle: newThrottle(), Transport: transport,
		NewBackOff: func() backoff.BackOff { return NewBackOff(func(n int64) int64 { return rand.Int64N(n) / 10_000 }) },
		Metrics:    NewMetrics(prometheus.NewRegistry()), Version: "1.2.3", Now: time.Now,
	}
	for _, e := range edit {
		e(&o)
	}
	return o
}

func newTestCohorts(transport http.RoundTripper, edit ...func(*Options)) *Cohorts {
	return NewCohorts(testOptions(transport, edit...))
}

func newTestAttributes(transport http.RoundTripper, edit ...func(*Options)) *Attributes {
	return NewAttributes(testOptions(transport, edit...))
}

func newBraze(o brazetest.Options) *brazetest.Server {
	o.PartnerKey, o.APIKey = partnerKey, dataKey
	return brazetest.New(o)
}

func batchOf(n int) Batch {
	b := Batch{CohortID: "c1", Attribute: "cohort_c1", Items: make([]Item, n)}
	for i := range b.Items {
		b.Items[i] = Item{Identifier: user(i), Remove: i%3 == 1}
	}
	return b
}

func user(i int) catalog.Identifier {
	return catalog.Identifier{Kind: catalog.ExternalID, Value: "u" + strconv.Itoa(i)}
}

func naming() Naming {
	return Naming{CohortID: "c1", Name: "High LTV", CreatedAt: time.Unix(1692206763, 0)}
}
