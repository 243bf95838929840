package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"cohortsync/internal/braze/brazetest"
)

// requestLog writes every request to a file, for whoever judges afterwards
// what a client has done. Braze calls it one at a time.
type requestLog struct {
	file *os.File
	// failed is the first error; after it nothing is written.
	failed error
}

// cameLine and overLine are its lines. Requests that were in flight when the
// process ended have only the first.
type cameLine struct {
	Event      string          `json:"event"`
	Seq        int             `json:"seq"`
	At         time.Time       `json:"at"`
	Path       string          `json:"path"`
	Cohort     string          `json:"cohort,omitempty"`
	Naming     bool            `json:"naming,omitempty"`
	UserAgent  string          `json:"user_agent"`
	Operations []operationView `json:"operations"`
}

type overLine struct {
	Event    string    `json:"event"`
	Seq      int       `json:"seq"`
	At       time.Time `json:"at"`
	Status   int       `json:"status"`
	Answered bool      `json:"answered"`
	Applied  bool      `json:"applied"`
}

func openRequestLog(file string) (*requestLog, error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // The user names it.
	if err != nil {
		return nil, fmt.Errorf("opening the request log (--request-log): %w", err)
	}
	return &requestLog{file: f}, nil
}

// note writes a request as it is at this moment.
func (l *requestLog) note(r brazetest.Request) {
	if l.failed != nil {
		return
	}
	var line any
	if r.Over {
		at := r.AnsweredAt
		if at.IsZero() {
			at = time.Now()
		}
		line = overLine{"over", r.Seq, at, r.Status, !r.AnsweredAt.IsZero(), r.Applied}
	} else {
		came := cameLine{"came", r.Seq, r.ReceivedAt, r.Path, r.Cohort, r.Naming, r.UserAgent, make([]operationView, len(r.Ops))}
		for i, op := range r.Ops {
			came.Operations[i] = operationView{identifierOf(op.Identifier), op.Cohort, op.Remove, op.Error}
		}
		line = came
	}
	text, err := json.Marshal(line)
	if err == nil {
		_, err = l.file.Write(append(text, '\n'))
	}
	l.failed = err
}

// close returns what went wrong with the log. Without a log nothing can.
func (l *requestLog) close() error {
	if l == nil {
		return nil
	}
	if l.failed != nil {
		return fmt.Errorf("writing the request log: %w", l.failed)
	}
	return l.file.Close()
}
