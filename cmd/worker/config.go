package main

import (
	"fmt"

	"cohortsync/internal/config"
)

type configCmd struct {
	Check  configCheckCmd  `cmd:"" help:"Check the file and its secrets; report every problem at once."`
	Print  configPrintCmd  `cmd:"" help:"Print the configuration, defaults filled in and secrets redacted."`
	Schema configSchemaCmd `cmd:"" help:"Print the JSON Schema of the file, for editors."`
}

type configCheckCmd struct{ configFlag }

// Help says more than the one line.
func (configCheckCmd) Help() string {
	return `Talks to neither Kafka nor Braze. Problems and warnings go to standard error, one line each: file:line:column: key: what is wrong; what would be right.

Exits with 0 when the file can be used and with 2 when it cannot.

Example: cohortsync config check --config cohortsync.yaml`
}

// Run checks the file and that every secret resolves.
func (cmd configCheckCmd) Run(p process) error {
	c, err := cmd.load(p, true)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "%s can be used: %s, %s\n", cmd.Config,
		count(len(c.Targets), "target"), count(len(c.Syncs), "sync"))
	return err
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

type configPrintCmd struct{ configFlag }

// Help says more than the one line.
func (configPrintCmd) Help() string {
	return `Shows what the worker would use. References to secrets are shown as they are and resolved by nobody; plain secrets appear as <redacted>.

Example: cohortsync config print | grep linger`
}

// Run prints the file with its defaults.
func (cmd configPrintCmd) Run(p process) error {
	c, err := cmd.load(p, false)
	if err != nil {
		return err
	}
	return c.Print(p.stdout)
}

type configSchemaCmd struct{}

// Help says more than the one line.
func (configSchemaCmd) Help() string {
	return `An editor with a YAML language server completes and checks keys by it; the file's first line names it.

Example: cohortsync config schema > cohortsync.schema.json`
}

// Run prints the schema.
func (configSchemaCmd) Run(p process) error {
	schema, err := config.Schema()
	if err != nil {
		return err
	}
	_, err = p.stdout.Write(schema)
	return err
}
