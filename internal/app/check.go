package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"cohortsync/internal/config"
)

// Level is how much a finding matters.
type Level string

// The levels. What is Wrong keeps a worker from its work; what is Skipped was
// not looked at, for something that it depends on is wrong.
const (
	OK      Level = "ok"
	Warning Level = "warning"
	Wrong   Level = "wrong"
	Skipped Level = "skipped"
)

// Finding is what Check has found out about one thing. It holds no secret.
type Finding struct {
	Level Level
	// Subject is the thing, What is so, and Do what to do about it; Do is empty
	// when there is nothing to be done.
	Subject, What, Do string
}

// String is the finding as one line.
func (f Finding) String() string {
	line := fmt.Sprintf("%-8s %s: %s", f.Level, f.Subject, f.What)
	if f.Do != "" {
		line += "; " + f.Do
	}
	return strings.ReplaceAll(line, "\n", ": ")
}

// check is one run of Check.
type check struct {
	cfg      *config.Config
	deps     Deps
	patience time.Duration
	report   func(Finding)
}

// Check looks at Kafka and Braze as a worker with this configuration is going
// to use them, whose secrets resolve, and reports each finding as soon as it is
// known. It creates, writes and commits nothing and is a member of no group.
// One look at Kafka takes at most patience, a request to Braze at most its
// target's timeout. What is wrong does not end it; its error is that of ctx.
func Check(ctx context.Context, cfg *config.Config, deps Deps, patience time.Duration, report func(Finding)) error {
	c := &check{cfg: cfg, deps: deps, patience: patience, report: report}
	c.kafka(ctx)
	c.braze(ctx)
	return ctx.Err()
}

// look takes one look within the patience and tells what it brought.
func (c *check) look(ctx context.Context, subject string, at func(context.Context) Finding) Level {
	within, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	return c.tell(ctx, subject, at(within))
}

// tell reports a finding, unless ctx has ended: what failed then says nothing.
func (c *check) tell(ctx context.Context, subject string, f Finding) Level {
	if ctx.Err() != nil {
		return Skipped
	}
	f.Subject = subject
	c.report(f)
	return f.Level
}

// said is an error's text for people.
func (c *check) said(err error) string {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Sprintf("no answer within %s", c.patience)
	}
	return err.Error()
}

func fine(format string, args ...any) Finding {
	return Finding{Level: OK, What: fmt.Sprintf(format, args...)}
}

func skipped(why string) Finding { return Finding{Level: Skipped, What: why} }
