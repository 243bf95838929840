package braze

import (
	"context"
	"log/slog"
	"net/http"
	"time"
)

// Options are what a client takes. Throttle, Transport, Metrics and Logger
// are the caller's; they may be shared between clients.
type Options struct {
	// Target is the target's name, for metrics and logs.
	Target string
	// Endpoint is the base URL without a trailing slash, Partner the path
	// segment of the partner API.
	Endpoint, Partner string
	// Credentials loads the partner's key and the customer's. It is called on
	// first use and again after Braze has refused them.
	Credentials func() (partnerKey, apiKey string, err error)
	// RequestTimeout bounds each request, from its admission to the end of
	// its answer.
	RequestTimeout time.Duration
	// Throttle is told what each request brought; the caller asks it.
	Throttle *Throttle
	// Transport carries the requests; nil is a transport of the client's own.
	Transport http.RoundTripper
	Metrics   *Metrics
	// Version is this program's, for the User-Agent.
	Version string
	Now     func() time.Time
	Logger  *slog.Logger
}

// Cohorts is the partner API for cohorts
// (https://www.braze.com/docs/partners/isv_partners/cohort_import). It is safe
// for concurrent use; that a cohort has one request in flight is the caller's
// to see to.
type Cohorts struct {
	client  *client
	naming  requestMetrics
	members requestMetrics
	path    string
}

// NewCohorts returns a client of the cohorts API.
func NewCohorts(o Options) *Cohorts {
	return &Cohorts{
		client: newClient(o),
		naming: o.Metrics.of(o.Target, endpointNaming), members: o.Metrics.of(o.Target, endpointMembers),
		path: "/partners/" + o.Partner + "/cohorts",
	}
}

// Name names or renames a cohort with one request. Its error is an *Error
// unless admit refused or ctx ended.
func (c *Cohorts) Name(ctx context.Context, naming Naming, admit Admit) error {
	err := c.client.post(ctx, call{
		path: c.path, cohort: naming.CohortID, metrics: &c.naming, admit: admit,
		body: func(k *credentials) []byte { return nameBody(k, naming) },
		// Nothing in a naming can be left out.
		whole: true,
	})
	return err
}

// Deliver sends a batch, in as many requests as it takes to find out what
// becomes of every item. It never sends after admit has refused.
func (c *Cohorts) Deliver(ctx context.Context, batch Batch, admit Admit) Report {
	return divide(len(batch.Items), func(from, to int) error {
		return c.client.post(ctx, call{
			path: c.path + "/users", cohort: batch.CohortID, metrics: &c.members, admit: admit,
			body: func(k *credentials) []byte { return membersBody(k, batch.CohortID, batch.Items[from:to]) },
		})
	})
}
