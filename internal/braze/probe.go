package braze

import "context"

// probeCohort stands in for a cohort in a probe. It is never named, and nobody
// enters it.
const probeCohort = "cohortsync-config-check"

// Probe shows by one request whether Braze takes the credentials, and changes
// nobody's membership: a change of members without members, which Segment's
// integration sends for the same purpose. It does not wait for the throttle.
// Its error is an *Error, of class Refused for credentials that Braze does not
// take, or ctx's own.
func (c *Cohorts) Probe(ctx context.Context) error {
	return c.client.post(ctx, call{
		path: c.path + "/users", cohort: probeCohort, metrics: &c.members,
		admit: func(context.Context) error { return nil },
		body:  func(k *credentials) []byte { return membersBody(k, probeCohort, nil) },
		judge: judgeNaming, whole: true,
	})
}
