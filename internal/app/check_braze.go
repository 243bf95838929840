package app

import (
	"context"
	"errors"
	"fmt"

	"cohortsync/internal/braze"
	"cohortsync/internal/catalog"
	"cohortsync/internal/config"
)

// prober is a client of one of Braze's APIs that can show, without changing
// anything, whether Braze takes its credentials. Its error is an *braze.Error
// or that of ctx.
type prober interface {
	Probe(ctx context.Context) error
}

func newProber(t config.Target, o braze.Options) prober {
	if t.API == catalog.Attributes {
		return braze.NewAttributes(o)
	}
	return braze.NewCohorts(o)
}

// braze probes the credentials of every target.
func (c *check) braze(ctx context.Context) {
	deps := c.deps
	if deps.Transport == nil {
		transport := braze.NewTransport()
		defer transport.CloseIdleConnections()
		deps.Transport = transport
	}
	metrics := braze.NewMetrics(deps.Registry)
	for _, t := range c.cfg.Targets {
		client := newProber(t, brazeOptions(t, deps, newThrottle(t, deps), metrics))
		c.tell(ctx, fmt.Sprintf("target %q", t.Name), probed(client.Probe(ctx)))
	}
}

// probed says what a probe's outcome means.
func probed(err error) Finding {
	const credentials = "check the target's keys and partner, and that the endpoint is that of its Braze instance"
	if err == nil {
		return fine("Braze takes the credentials")
	}
	failed, ok := errors.AsType[*braze.Error](err)
	if !ok {
		return Finding{Wrong, "", err.Error(), ""}
	}
	switch failed.Class {
	case braze.Refused:
		return Finding{Wrong, "", "Braze refuses the credentials (" + failed.Message + ")", credentials}
	case braze.Limited, braze.Busy:
		return Finding{Warning, "", "Braze is busy, whether it takes the credentials is not known (" + failed.Message + ")", "check again later"}
	case braze.Invalid:
		return Finding{Warning, "", "Braze refuses the probe, whether it takes the credentials is not known (" + failed.Message + ")", credentials}
	case braze.Unreachable:
		if failed.Status == 0 {
			return Finding{Wrong, "", "Braze cannot be reached (" + failed.Message + ")", "check the endpoint, and what is between: name servers, proxies, firewalls"}
		}
		return Finding{Wrong, "", "Braze fails (" + failed.Message + ")", "check again later"}
	default:
		return Finding{Wrong, "", "this is not what Braze answers (" + failed.Message + ")", "check the endpoint, and whether a proxy answers in its place"}
	}
}
