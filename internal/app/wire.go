package app

import (
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"cohortsync/internal/braze"
	"cohortsync/internal/catalog"
	"cohortsync/internal/config"
	"cohortsync/internal/stream"
	"cohortsync/internal/stream/broker"
)

// newBroker connects the configuration's Kafka part, its secrets resolved.
func newBroker(cfg *config.Config, deps Deps) (*broker.Broker, error) {
	options, err := brokerOptions(cfg, deps)
	if err != nil {
		return nil, err
	}
	return broker.New(options)
}

func brokerOptions(cfg *config.Config, deps Deps) (broker.Options, error) {
	k := cfg.Kafka
	options := broker.Options{
		Brokers: k.Brokers, Topic: k.Topic, DeadLetterTopic: k.DeadLetterTopic, ClientID: "cohortsync",
		SessionTimeout: k.SessionTimeout, RebalanceTimeout: k.RebalanceTimeout,
		HeartbeatInterval: k.HeartbeatInterval, DrainTimeout: k.DrainTimeout,
		AllowCompacted: k.AllowCompacted, ReadCommitted: k.Isolation == config.ReadCommitted, Logger: deps.Logger,
	}
	if k.TLS.Enabled {
		tls, err := broker.TLSConfig(k.TLS.CAFile, k.TLS.CertFile, k.TLS.KeyFile)
		if err != nil {
			return options, fmt.Errorf("preparing TLS for Kafka: %w", err)
		}
		options.TLS = tls
	}
	username, err := k.SASL.Username.Resolve()
	if err != nil {
		return options, fmt.Errorf("preparing the login at Kafka: %w", err)
	}
	password, err := k.SASL.Password.Resolve()
	if err != nil {
		return options, fmt.Errorf("preparing the login at Kafka: %w", err)
	}
	options.SASL, err = broker.SASLMechanism(string(k.SASL.Mechanism), username, password)
	if err != nil {
		return options, fmt.Errorf("preparing the login at Kafka: %w", err)
	}
	return options, nil
}

// addTargets wires every target. Those with the same endpoint and credentials
// share one throttle, as they share Braze's limit.
func (a *App) addTargets(cfg *config.Config, deps Deps, beats *stream.Beats) error {
	brazeMetrics, streamMetrics := braze.NewMetrics(deps.Registry), stream.NewMetrics(deps.Registry)
	throttles := make(map[string]*braze.Throttle)
	for _, t := range cfg.Targets {
		throttle, ok := throttles[t.CredentialID()]
		if !ok {
			throttle = newThrottle(t, deps)
			throttles[t.CredentialID()] = throttle
		}
		destination, namer := newClient(t.API, brazeOptions(t, deps, throttle, brazeMetrics))
		group := cfg.Kafka.GroupOf(t)
		membership := a.broker.Membership(group)
		target, err := stream.NewTarget(stream.Options{
			Target: t.Target, Routes: catalog.NewRoutes(t.Name, cfg.Syncs), Topic: cfg.Kafka.Topic, Group: group,
			StartFrom: startFrom(cfg.Kafka.StartFrom), Timing: timing(cfg.Kafka),
			LateWindow: cfg.Delivery.LateWindow, MaxMemory: int64(cfg.Delivery.MaxMemory) / int64(len(cfg.Targets)),
			Membership: membership, Log: a.broker.Log(), Source: a.broker, Letters: a.broker.Letters(),
			Destination: destination, Namer: namer, Throttle: throttle,
			NewBackOff: a.newBackOff,
			Now:        deps.Now, Logger: deps.Logger, Metrics: streamMetrics, Beats: beats,
		})
		if err != nil {
			return err
		}
		if len(catalog.NewRoutes(t.Name, cfg.Syncs).Syncs()) == 0 {
			deps.Logger.Warn("no sync names this target, so all that it reads is skipped; its group moves past it for good", "target", t.Name)
		}
		a.targets = append(a.targets, &runningTarget{Target: target, membership: membership, throttle: throttle})
	}
	return nil
}

// newClient returns the client of an API; namer is nil for the one that names
// no cohorts.
func newClient(api catalog.API, o braze.Options) (destination stream.Destination, namer stream.Namer) {
	if api == catalog.Attributes {
		return braze.NewAttributes(o), nil
	}
	cohorts := braze.NewCohorts(o)
	return cohorts, cohorts
}

func newThrottle(t config.Target, deps Deps) *braze.Throttle {
	return braze.NewThrottle(t.RateLimit, braze.ThrottleOptions{Now: deps.Now, Rand: deps.Random})
}

// brazeOptions are those of the client of the target's API.
func brazeOptions(t config.Target, deps Deps, throttle *braze.Throttle, metrics *braze.Metrics) braze.Options {
	return braze.Options{
		Target: t.Name, Endpoint: t.Endpoint, Partner: t.Partner, Credentials: credentialsOf(t),
		RequestTimeout: t.RequestTimeout, Throttle: throttle, Transport: deps.Transport,
		NewBackOff: func() backoff.BackOff { return braze.NewBackOff(deps.Random) },
		Metrics:    metrics, Version: deps.Version, Now: deps.Now, Logger: deps.Logger,
	}
}

// credentialsOf reads a target's keys anew at each call, so that one rotated
// in its file takes effect at the next probe.
func credentialsOf(t config.Target) func() (partnerKey, apiKey string, err error) {
	return func() (string, string, error) {
		partnerKey, err := t.PartnerAPIKey.Resolve()
		if err != nil {
			return "", "", err
		}
		apiKey, err := t.APIKey.Resolve()
		return partnerKey, apiKey, err
	}
}

func startFrom(s config.StartFrom) stream.StartFrom {
	return stream.StartFrom{Latest: s.At == config.StartLatest, Time: s.Time}
}

func timing(k config.Kafka) stream.Timing {
	return stream.Timing{
		SessionTimeout: k.SessionTimeout, RebalanceTimeout: k.RebalanceTimeout,
		HeartbeatInterval: k.HeartbeatInterval, DrainTimeout: k.DrainTimeout, CommitInterval: k.CommitInterval,
	}
}

// targetHealth tells how each target stands.
func (a *App) targetHealth(now func() time.Time) func() []targetHealth {
	return func() []targetHealth {
		all := make([]targetHealth, len(a.targets))
		for i, t := range a.targets {
			status := t.membership.Status()
			h := targetHealth{Status: t.Target.Status(), Kafka: status.State.String(), Error: status.LastError, Braze: "ok"}
			switch s := t.throttle.State(); {
			case s.BreakerOpen:
				h.Braze = "breaker open"
			case !s.HeldUntil.IsZero():
				h.Braze = "held until " + s.HeldUntil.UTC().Format(time.RFC3339)
			}
			if status.State == broker.NoBroker {
				h.brokerless = now().Sub(status.Since)
			}
			all[i] = h
		}
		return all
	}
}

// registerProcess adds what is about the process itself.
func registerProcess(registry *prometheus.Registry, version string) {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "cohortsync_build_info", Help: "Always 1; the label tells the version.",
		ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	registry.MustRegister(info, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
}
