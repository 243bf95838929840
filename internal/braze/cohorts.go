package braze

import "context"

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
		body:  func(k *credentials) []byte { return nameBody(k, naming) },
		judge: judgeNaming, whole: true,
	})
	return err
}

// Deliver sends a batch, in as many requests as it takes to find out what
// becomes of every item. It never sends after admit has refused.
func (c *Cohorts) Deliver(ctx context.Context, batch Batch, admit Admit) Report {
	return c.client.divide(ctx, len(batch.Items), func(from, to int) error {
		return c.client.post(ctx, call{
			path: c.path + "/users", cohort: batch.CohortID, metrics: &c.members, admit: admit,
			body:  func(k *credentials) []byte { return membersBody(k, batch.CohortID, batch.Items[from:to]) },
			judge: judgeMembers,
		})
	})
}
