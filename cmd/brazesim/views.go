package main

import (
	"net/http"
	"time"

	"cohortsync/internal/braze/brazetest"
)

// requestsShown is how many requests are listed unless limit says so.
const requestsShown = 100

// requestView is one request.
type requestView struct {
	Seq        int       `json:"seq"`
	ReceivedAt time.Time `json:"received_at"`
	// InFlight says that the answer may still come; Status is 0 until then, and
	// when none ever came.
	InFlight bool `json:"in_flight"`
	// Milliseconds is how long the answer took; absent when there is none.
	Milliseconds *float64 `json:"milliseconds,omitempty"`
	Path         string   `json:"path"`
	Cohort       string   `json:"cohort"`
	Name         string   `json:"name,omitempty"`
	Adds         int      `json:"adds"`
	Removes      int      `json:"removes"`
	Refused      int      `json:"refused"`
	Status       int      `json:"status"`
	Applied      bool     `json:"applied"`
	UserAgent    string   `json:"user_agent"`
	// Operations are the first of them.
	Operations []operationView `json:"operations"`
}

type operationView struct {
	identifier
	Cohort string `json:"cohort"`
	Remove bool   `json:"remove"`
	Error  string `json:"error,omitempty"`
}

func viewOf(r brazetest.Request) requestView {
	view := requestView{
		Seq: r.Seq, ReceivedAt: r.ReceivedAt, InFlight: !r.Over, Path: r.Path, Cohort: r.Cohort, Name: r.Name, Adds: r.Adds, Removes: r.Removes,
		Refused: r.Refused, Status: r.Status, Applied: r.Applied, UserAgent: r.UserAgent, Operations: []operationView{},
	}
	if !r.AnsweredAt.IsZero() {
		took := float64(r.AnsweredAt.Sub(r.ReceivedAt).Microseconds()) / 1e3
		view.Milliseconds = &took
	}
	for _, op := range r.Ops[:min(opsKept, len(r.Ops))] {
		view.Operations = append(view.Operations, operationView{identifierOf(op.Identifier), op.Cohort, op.Remove, op.Error})
	}
	return view
}

// requests lists the newest first.
func (s *simulator) requests(w http.ResponseWriter, r *http.Request) {
	limit, err := limitOf(r, requestsShown)
	if err != nil {
		complain(w, err)
		return
	}
	newest := s.braze.Newest(limit)
	views := make([]requestView, len(newest))
	for i, request := range newest {
		views[len(newest)-1-i] = viewOf(request)
	}
	answer(w, http.StatusOK, map[string]any{"requests": views})
}

// standingView is how one identifier stands with one cohort.
type standingView struct {
	Cohort     string     `json:"cohort"`
	Identifier identifier `json:"identifier"`
	Member     bool       `json:"member"`
	// Accepted is what member will be when all is applied in the order in which
	// it was accepted.
	Accepted   bool          `json:"accepted"`
	Operations []appliedView `json:"operations"`
}

type appliedView struct {
	Request int       `json:"request"`
	At      time.Time `json:"at"`
	Remove  bool      `json:"remove"`
}

func (s *simulator) history(w http.ResponseWriter, r *http.Request) {
	value := r.PathValue("value")
	views := []standingView{}
	for _, st := range s.braze.Find(value) {
		view := standingView{
			Cohort: st.Cohort, Identifier: identifierOf(st.Identifier), Member: st.Member, Accepted: st.Accepted, Operations: []appliedView{},
		}
		for _, op := range st.Operations {
			view.Operations = append(view.Operations, appliedView{op.Seq, op.At, op.Remove})
		}
		views = append(views, view)
	}
	answer(w, http.StatusOK, map[string]any{"value": value, "cohorts": views})
}
