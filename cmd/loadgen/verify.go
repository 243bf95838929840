package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"
)

// verifyCmd is loadgen verify.
type verifyCmd struct {
	Expected  string        `required:"" type:"existingfile" placeholder:"FILE" help:"The file that loadgen write --expected wrote."`
	Braze     string        `default:"http://127.0.0.1:8081" placeholder:"URL" help:"Where the simulated Braze listens (default: ${default})."`
	API       string        `name:"api" enum:"cohorts,attributes" default:"cohorts" help:"What the worker's target says: cohorts, or attributes."`
	Attribute string        `default:"cohort_{cohort_id}" placeholder:"TEMPLATE" help:"What the target calls a cohort's attribute, with --api attributes (default: ${default})."`
	Wait      time.Duration `default:"0s" placeholder:"TIME" help:"Go on comparing for this long, until they are equal."`
}

// Help says more than the one line.
func (verifyCmd) Help() string {
	return `Compares the external ids of each cohort in the file with those that brazesim has, and its name too. Exits with 0 when they are equal and with 1 when they are not, or cannot be compared.

Cohorts of which the file says nothing are named, and are no fault: something else wrote them.

Example: loadgen verify --expected expected.json --braze http://127.0.0.1:8081 --wait 5m`
}

// errUnequal says what the exit code says.
var errUnequal = errors.New("the membership in Braze is not the expected one")

// placeholder is what a template may hold.
var placeholder = regexp.MustCompile(`\{[^}]*\}`)

// Run compares, until equal or until the time is up.
func (cmd verifyCmd) Run(ctx context.Context, p process) error {
	braze, err := cmd.braze()
	if err != nil {
		return usageError{err}
	}
	expected, err := readOutcome(cmd.Expected)
	if err != nil {
		return err
	}
	if expected.Uncertain > 0 {
		fmt.Fprintf(p.stderr, "loadgen: the run ended with %d records that may be in the topic or not: a difference may be due to them\n", expected.Uncertain)
	}
	found, err := cmd.compare(ctx, braze, expected)
	if err != nil {
		return err
	}
	found.print(p.stdout)
	if !found.equal() {
		return errUnequal
	}
	return nil
}

// compare compares again and again while there is time. It pauses as long as
// it took, so that it takes at most half of what Braze can do.
func (cmd verifyCmd) compare(ctx context.Context, braze *brazeAdmin, expected *outcome) (*comparison, error) {
	for end := time.Now().Add(cmd.Wait); ; {
		began := time.Now()
		found, err := compare(ctx, braze, expected)
		if err != nil || found.equal() || !time.Now().Before(end) {
			return found, err
		}
		pause := time.NewTimer(min(time.Until(end), max(time.Second, time.Since(began))))
		select {
		case <-ctx.Done():
			pause.Stop()
			return found, nil
		case <-pause.C:
		}
	}
}

// braze returns the simulated Braze that the flags tell of.
func (cmd verifyCmd) braze() (*brazeAdmin, error) {
	if cmd.API == "cohorts" {
		return newBrazeAdmin(cmd.Braze, "")
	}
	for _, found := range placeholder.FindAllString(cmd.Attribute, -1) {
		if found != cohortPlaceholder {
			return nil, fmt.Errorf("--attribute %q holds %s; only %s is known here", cmd.Attribute, found, cohortPlaceholder)
		}
	}
	if !strings.Contains(cmd.Attribute, cohortPlaceholder) {
		return nil, fmt.Errorf("--attribute %q does not hold %s: all cohorts would be one", cmd.Attribute, cohortPlaceholder)
	}
	return newBrazeAdmin(cmd.Braze, cmd.Attribute)
}

// print prints a line for each cohort and, below it, what differs.
func (c *comparison) print(out io.Writer) {
	var notes strings.Builder
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "COHORT\tEXPECTED\tGOT\tMISSING\tSURPLUS")
	for _, d := range c.cohorts {
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\n", d.id, d.expected, d.got, d.missing, d.surplus)
		d.explain(&notes)
	}
	_ = table.Flush() // As of all that is printed, nobody is told of its errors.
	fmt.Fprint(out, notes.String())
	for _, other := range c.others {
		fmt.Fprintf(out, "Not in the file: %s with %d members.\n", other.ID, other.Members)
	}
	if c.equal() {
		fmt.Fprintf(out, "Equal: %d cohorts with %d members.\n", len(c.cohorts), c.members)
		return
	}
	fmt.Fprintf(out, "Not equal: %d of %d cohorts differ.\n", c.unequal, len(c.cohorts))
}

// explain gives examples of what differs.
func (d *difference) explain(to *strings.Builder) {
	if d.missing > 0 {
		fmt.Fprintf(to, "%s: missing, such as %s\n", d.id, strings.Join(d.missingExamples, ", "))
	}
	if d.surplus > 0 {
		fmt.Fprintf(to, "%s: surplus, such as %s\n", d.id, strings.Join(d.surplusExamples, ", "))
	}
	if d.otherKinds > 0 {
		fmt.Fprintf(to, "%s: has %d members more that are no external ids; they are not compared\n", d.id, d.otherKinds)
	}
	if d.gotName != d.name {
		fmt.Fprintf(to, "%s: is called %q and not %q\n", d.id, d.gotName, d.name)
	}
}
