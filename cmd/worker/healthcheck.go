package main

import (
	"context"
	"fmt"

	"cohortsync/internal/healthcheck"
)

// healthcheckCmd is cohortsync healthcheck.
type healthcheckCmd struct {
	configFlag
	Address string `placeholder:"HOST:PORT" help:"Ask there, and do not read the file (default: http.listen of the file)."`
}

// Help says more than the one line.
func (healthcheckCmd) Help() string {
	return `Asks the worker of this machine for its /healthz, for a container's HEALTHCHECK. The address is http.listen of the configuration file; where that is all of the machine's addresses, loopback is asked. No secret is needed.

Exits with 0 when the worker is healthy, with 1 when it is not or does not answer within 3 seconds, and with 2 when the file cannot be used.

Example: cohortsync healthcheck --config cohortsync.yaml`
}

// Run asks once.
func (cmd healthcheckCmd) Run(p process) error {
	address, err := cmd.where(p)
	if err != nil {
		return err
	}
	if err := healthcheck.Ask(context.Background(), address); err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "%s is healthy\n", address)
	return err
}

// where returns the address to ask.
func (cmd healthcheckCmd) where(p process) (string, error) {
	listen, hint := cmd.Address, ""
	if listen == "" {
		cfg, err := cmd.load(p, false)
		if err != nil {
			return "", err
		}
		listen, hint = cfg.HTTP.Listen, " with --address"
	}
	address, err := healthcheck.Address(listen)
	if err != nil {
		return "", usageError{fmt.Errorf("%w%s", err, hint)}
	}
	return address, nil
}
