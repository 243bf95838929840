package main

import (
	"bufio"
	"encoding/json"
	"net/http"

	"cohortsync/internal/braze/brazetest"
)

// admin is the admin API.
func (s *simulator) admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /admin/cohorts", s.cohorts)
	mux.HandleFunc("GET /admin/cohorts/{id}/members", s.members)
	mux.HandleFunc("GET /admin/counters", s.counters)
	mux.HandleFunc("GET /admin/requests", s.requests)
	mux.HandleFunc("GET /admin/users/{value}/history", s.history)
	mux.HandleFunc("POST /admin/users", s.addUsers)
	mux.HandleFunc("GET /admin/faults", s.getFaults)
	mux.HandleFunc("PUT /admin/faults", s.putFaults)
	mux.HandleFunc("GET /admin/faults/script", s.getScript)
	mux.HandleFunc("POST /admin/faults/script", s.postScript)
	mux.HandleFunc("PUT /admin/keys", s.putKeys)
	mux.HandleFunc("POST /admin/reset", s.reset)
	return mux
}

// cohortView is a cohort, or an attribute, whose name is its id.
type cohortView struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	API     string `json:"api"`
	Members int    `json:"members"`
}

func (s *simulator) cohorts(w http.ResponseWriter, _ *http.Request) {
	all := []cohortView{}
	for _, c := range s.braze.Cohorts() {
		view := cohortView{ID: c.ID, Name: c.Name, API: "cohorts", Members: c.Members}
		if c.Attribute {
			view.API = "attributes"
		}
		all = append(all, view)
	}
	answer(w, http.StatusOK, map[string]any{"cohorts": all})
}

// members writes one object a line. A cohort that nobody has written has no
// members.
func (s *simulator) members(w http.ResponseWriter, r *http.Request) {
	members := s.braze.List(r.PathValue("id"))
	limit, err := limitOf(r, len(members))
	if err != nil {
		complain(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	buffered := bufio.NewWriter(w)
	encoder := json.NewEncoder(buffered)
	for _, id := range members[:min(limit, len(members))] {
		if err := encoder.Encode(identifierOf(id)); err != nil {
			return // The client has gone.
		}
	}
	_ = buffered.Flush()
}

func (s *simulator) counters(w http.ResponseWriter, _ *http.Request) {
	c := s.braze.Counters()
	violations := s.braze.Violations()
	answer(w, http.StatusOK, map[string]any{
		"requests": c.Requests, "in_flight": c.InFlight,
		"operations":  map[string]int{"accepted": c.Accepted, "refused": c.Refused, "due": c.Due},
		"members":     c.Members,
		"identifiers": c.Identifiers,
		"violations":  map[string]any{"count": c.Violations, "last": append([]string{}, violations[max(0, len(violations)-10):]...)},
	})
}

func (s *simulator) addUsers(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Users []entry `json:"users"`
	}
	if !read(w, r, &body) {
		return
	}
	n, err := s.users.add(body.Users)
	if err != nil {
		complain(w, err)
		return
	}
	answer(w, http.StatusOK, map[string]any{"users": n, "everybody_exists": s.users.everybody})
}

// putKeys rotates the keys, which no answer shows.
func (s *simulator) putKeys(w http.ResponseWriter, r *http.Request) {
	var keys struct {
		Partner string `json:"partner_key"`
		API     string `json:"api_key"`
	}
	if !read(w, r, &keys) {
		return
	}
	s.braze.SetKeys(keys.Partner, keys.API)
	answer(w, http.StatusOK, map[string]any{"changed": true})
}

func (s *simulator) reset(w http.ResponseWriter, _ *http.Request) {
	s.braze.Reset()
	answer(w, http.StatusOK, map[string]any{"reset": true})
}

func (s *simulator) getFaults(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, faultsOf(s.braze.Faults()))
}

// putFaults replaces all faults; what the body leaves out is off.
func (s *simulator) putFaults(w http.ResponseWriter, r *http.Request) {
	f := faultsOf(brazetest.Faults{LimitedFor: defaultLimitedFor})
	if !read(w, r, &f) {
		return
	}
	if err := f.check(); err != nil {
		complain(w, err)
		return
	}
	s.braze.SetFaults(f.braze())
	answer(w, http.StatusOK, f)
}

func (s *simulator) getScript(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, s.script.left())
}

func (s *simulator) postScript(w http.ResponseWriter, r *http.Request) {
	var rules []*rule
	if !read(w, r, &rules) {
		return
	}
	if err := s.script.set(rules); err != nil {
		complain(w, err)
		return
	}
	answer(w, http.StatusOK, s.script.left())
}
