//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// Ports begin below those that systems give to outgoing connections: what
// listens there can be ended and find its port free when it comes back. Runs at
// the same time keep to ranges of their own.
const (
	firstPort = 15_000
	ranges    = 150
	perRange  = 100
)

// ports gives each of its addresses once.
type ports struct{ next, end int }

func newPorts() *ports {
	first := firstPort + os.Getpid()%ranges*perRange
	return &ports{first, first + perRange}
}

// free returns a loopback address at which nothing listens.
func (p *ports) free(ctx context.Context) (string, error) {
	for p.next < p.end {
		address := fmt.Sprintf("127.0.0.1:%d", p.next)
		p.next++
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		switch {
		case err == nil:
			return address, listener.Close()
		case !errors.Is(err, syscall.EADDRINUSE):
			return "", fmt.Errorf("finding a free port: %w", err)
		}
	}
	return "", errors.New("finding a free port: there is none left")
}
