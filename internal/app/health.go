package app

import (
	"net/http"
	"sync/atomic"
	"time"

	"cohortsync/internal/stream"
)

// stuckAfter is how long a loop may go without a beat. A healthy one beats
// every stream.BeatEvery.
const stuckAfter = 6 * stream.BeatEvery

// phase is where the process stands in its life.
type phase int32

const (
	startingPhase phase = iota
	runningPhase
	drainingPhase
)

func (p phase) String() string {
	switch p {
	case startingPhase:
		return "starting"
	case runningPhase:
		return "running"
	default:
		return "draining"
	}
}

// targetHealth is what readiness asks of one target.
type targetHealth struct {
	stream.Status
	// Kafka is where the membership stands, Error its last trouble.
	Kafka string `json:"kafka"`
	Error string `json:"error,omitempty"`
	// Braze is the state of the credential: ok, held or open (the breaker).
	Braze string `json:"braze"`

	brokerless time.Duration
}

// health answers for liveness and readiness.
type health struct {
	beats *stream.Beats
	phase atomic.Int32
	// patience is how long the worker is ready without a broker.
	patience time.Duration
	targets  func() []targetHealth
}

// serveHealth says whether the loops go round. It depends on neither Kafka nor
// Braze: restarting the worker would mend neither.
func (h *health) serveHealth(w http.ResponseWriter, _ *http.Request) {
	body := struct {
		Status string   `json:"status"`
		Stuck  []string `json:"stuck,omitempty"`
	}{Status: "ok", Stuck: h.beats.Stuck(stuckAfter)}
	status := http.StatusOK
	if len(body.Stuck) > 0 {
		status, body.Status = http.StatusServiceUnavailable, "stuck"
	}
	answer(w, status, body)
}

// serveReady says whether the worker does its part: it has joined all its
// groups and is not on its way out. A locked target or a failing Braze is told
// in the body and does not make it unready, for no other worker could do
// better.
func (h *health) serveReady(w http.ResponseWriter, _ *http.Request) {
	body := struct {
		Status  string         `json:"status"`
		Reasons []string       `json:"reasons,omitempty"`
		Targets []targetHealth `json:"targets"`
	}{Status: "ready", Targets: h.targets()}
	if p := phase(h.phase.Load()); p != runningPhase {
		body.Reasons = append(body.Reasons, p.String())
	}
	for _, t := range body.Targets {
		if !t.Joined {
			body.Reasons = append(body.Reasons, t.Target+": has not joined its consumer group yet")
		}
		if t.brokerless > h.patience {
			body.Reasons = append(body.Reasons, t.Target+": no broker for longer than the session timeout")
		}
	}
	status := http.StatusOK
	if len(body.Reasons) > 0 {
		status, body.Status = http.StatusServiceUnavailable, "not ready"
	}
	answer(w, status, body)
}
