package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// progress shows how a run goes: in place on a terminal, else a line at a time.
type progress struct {
	out      io.Writer
	terminal bool
	tally    *tally
	goal     int64 // In changes, 0 for none.
	began    time.Time
	// last is what the line before said, and when.
	last     int64
	lastTime time.Time
}

func newProgress(out io.Writer, t *tally, goal int64) *progress {
	now := time.Now()
	return &progress{out: out, terminal: isTerminal(out), tally: t, goal: goal, began: now, lastTime: now}
}

// show shows it until ctx ends.
func (p *progress) show(ctx context.Context) {
	every := 5 * time.Second
	if p.terminal {
		every = time.Second
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			if p.terminal {
				fmt.Fprint(p.out, "\r\x1b[K")
			}
			return
		case now := <-ticker.C:
			line := p.line(now)
			if p.terminal {
				fmt.Fprintf(p.out, "\r\x1b[K%s", line)
			} else {
				fmt.Fprintln(p.out, line)
			}
		}
	}
}

// line says how things stand, and how fast they went since the last line.
func (p *progress) line(now time.Time) string {
	changes := p.tally.changes.Load()
	text := fmt.Sprintf("%4.0f s  %d records  %d changes", now.Sub(p.began).Seconds(), p.tally.records.Load(), changes)
	if p.goal > 0 {
		text += fmt.Sprintf(" of %d", p.goal)
	}
	text += fmt.Sprintf("  %.0f/s", perSecond(changes-p.last, now.Sub(p.lastTime)))
	if trouble := p.tally.standing(); trouble != "" {
		text += "  " + trouble
	}
	p.last, p.lastTime = changes, now
	return text
}

func perSecond(n int64, d time.Duration) float64 { return float64(n) / max(d.Seconds(), 1e-9) }

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
