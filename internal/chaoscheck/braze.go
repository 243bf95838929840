package chaoscheck

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// ReadBraze reads what a simulated Braze has seen: its request log, and by its
// admin API who is a member at the end.
func ReadBraze(ctx context.Context, requestLog, address string) (*History, error) {
	h := &History{Members: make(map[string]map[Identifier]bool)}
	file, err := os.Open(requestLog) //nolint:gosec // The caller's own file.
	if err != nil {
		return nil, fmt.Errorf("opening the request log: %w", err)
	}
	defer file.Close()
	if err := h.readRequests(file); err != nil {
		return nil, err
	}
	var all struct{ Cohorts []struct{ ID string } }
	if err := get(ctx, address+"/admin/cohorts", func(body io.Reader) error { return json.NewDecoder(body).Decode(&all) }); err != nil {
		return nil, err
	}
	for _, c := range all.Cohorts {
		members := make(map[Identifier]bool)
		err := get(ctx, address+"/admin/cohorts/"+url.PathEscape(c.ID)+"/members", func(body io.Reader) error {
			for decoder := json.NewDecoder(body); ; {
				var id Identifier
				if err := decoder.Decode(&id); errors.Is(err, io.EOF) {
					return nil
				} else if err != nil {
					return err
				}
				members[id] = true
			}
		})
		if err != nil {
			return nil, err
		}
		h.Members[c.ID] = members
	}
	var counters struct{ Violations struct{ Last []string } }
	if err := get(ctx, address+"/admin/counters", func(body io.Reader) error { return json.NewDecoder(body).Decode(&counters) }); err != nil {
		return nil, err
	}
	for _, v := range counters.Violations.Last {
		// Through proxies Braze learns late of who has gone, so that what was in
		// flight at once is judged from the request log.
		if !strings.Contains(v, "in flight together") {
			h.Violations = append(h.Violations, v)
		}
	}
	return h, nil
}

func get(ctx context.Context, address string, read func(io.Reader) error) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return fmt.Errorf("asking Braze: %w", err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("asking Braze: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("asking Braze: %s of %s", answer.Status, address)
	}
	if err := read(answer.Body); err != nil {
		return fmt.Errorf("reading %s: %w", address, err)
	}
	return nil
}

// logLine is a line of the request log: of one that came, or of one that is
// over.
type logLine struct {
	Event             string
	Seq               int
	At                time.Time
	Cohort            string
	Naming            bool
	UserAgent         string `json:"user_agent"`
	Status            int
	Answered, Applied bool
	Operations        []struct {
		Identifier
		Cohort string
		Remove bool
		Error  string
	}
}

func (h *History) readRequests(from io.Reader) error {
	open := make(map[int]int) // Where each request is that is not over.
	lines := bufio.NewReader(from)
	for {
		text, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil // A line that was cut short with the process is none.
		}
		if err != nil {
			return fmt.Errorf("reading the request log: %w", err)
		}
		var line logLine
		if err := json.Unmarshal(text, &line); err != nil {
			return fmt.Errorf("reading the request log: %w", err)
		}
		if line.Event == "over" {
			r := &h.Requests[open[line.Seq]]
			r.Over, r.Status, r.Answered, r.Applied = line.At, line.Status, line.Answered, line.Applied
			delete(open, line.Seq)
			continue
		}
		_, worker, _ := strings.Cut(line.UserAgent, "/")
		r := Request{Seq: line.Seq, Came: line.At, Naming: line.Naming, Cohort: line.Cohort, Worker: worker}
		for _, op := range line.Operations {
			r.Ops = append(r.Ops, Op{op.Identifier, op.Cohort, op.Remove, op.Error != ""})
		}
		open[line.Seq] = len(h.Requests)
		h.Requests = append(h.Requests, r)
	}
}
