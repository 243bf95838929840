// Package healthcheck asks a process of this machine whether it is well, as a
// container's HEALTHCHECK does. The images hold nothing but one binary, so that
// binary has to ask itself.
package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

const (
	// Path is where commands answer for their health.
	Path = "/healthz"
	// Patience is how long the answer may take: it comes out of memory.
	Patience = 3 * time.Second
	// quoted is how much of an unhealthy answer is shown.
	quoted = 1 << 10
)

// Address returns where a server that was told to listen at an address of its
// own machine is reached from there: a wildcard host becomes loopback.
func Address(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("reading the address %q: want host:port: %w", listen, err)
	}
	if port == "0" {
		return "", fmt.Errorf("the port of %q is chosen when the server starts: name the one that it took", listen)
	}
	switch ip, err := netip.ParseAddr(host); {
	case host == "", err == nil && ip.Is4() && ip.IsUnspecified():
		host = "127.0.0.1"
	case err == nil && ip.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port), nil
}

// Ask returns nil when the server at address says that it is healthy.
func Ask(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, Patience, fmt.Errorf("no answer within %s", Patience))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+Path, http.NoBody)
	if err != nil {
		return fmt.Errorf("asking %s for its health: %w", address, err)
	}
	// Neither a proxy nor another address can answer for this process.
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(req)
	if err != nil {
		if lower, ok := errors.AsType[*url.Error](err); ok {
			err = lower.Err // It would name the address once more.
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("asking %s for its health: %w", address, err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusOK {
		return nil
	}
	body, _ := io.ReadAll(io.LimitReader(res.Body, quoted)) // What it says on top is welcome, and no more.
	said := strings.Join(strings.Fields(string(body)), " ")
	return errors.New(strings.TrimSuffix(fmt.Sprintf("%s is not healthy: it answers %s: %s", address, res.Status, said), ": "))
}
