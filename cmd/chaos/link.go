//go:build unix

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// link is a TCP proxy between one worker and Kafka or Braze. What it holds when
// it is cut is dropped: design.md's Order assumes that a request is applied
// before its deadline or never.
type link struct {
	name string
	// kafka says that it leads to Kafka.
	kafka bool
	proxy *toxiproxy.Proxy
}

// The directions, seen from the worker.
const (
	there = "upstream"
	back  = "downstream"
)

// newProxies returns what makes links, in this process and without its API.
func newProxies() *toxiproxy.ApiServer {
	return toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
}

func newLink(server *toxiproxy.ApiServer, name string, kafka bool, listen, to string) (*link, error) {
	l := &link{name, kafka, toxiproxy.NewProxy(server, name, listen, to)}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *link) address() string { return l.proxy.Listen }

// cut closes all connections and refuses new ones.
func (l *link) cut() error { return l.soon(l.proxy.Stop) }

// hangs is after how long a proxy is taken to hang: toxiproxy can lock itself
// up when a connection ends just as a toxic is taken away.
const hangs = 10 * time.Second

// soon does something with the proxy, and says so if that hangs.
func (l *link) soon(do func()) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	timer := time.NewTimer(hangs)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
		return fmt.Errorf("the proxy of %s hangs, which is no fault of the workers: run it again", l.name)
	}
}

// open takes connections again.
func (l *link) open() error {
	if err := l.proxy.Start(); err != nil {
		return fmt.Errorf("opening the proxy of %s: %w", l.name, err)
	}
	return nil
}

// delay holds back what goes in both directions, for latency and as much again
// at most, in milliseconds.
func (l *link) delay(latency int) error {
	for _, direction := range []string{there, back} {
		if err := l.add(fmt.Sprintf(`{"name":"latency-%s","type":"latency","stream":%q,"attributes":{"latency":%d,"jitter":%d}}`,
			direction, direction, latency, latency/2)); err != nil {
			return err
		}
	}
	return nil
}

// swallow drops what goes in one direction; the other one lives.
func (l *link) swallow(direction string) error {
	return l.add(fmt.Sprintf(`{"name":"swallow-%s","type":"timeout","stream":%q,"attributes":{"timeout":0}}`, direction, direction))
}

func (l *link) add(toxic string) error {
	if _, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
		return fmt.Errorf("harming the proxy of %s: %w", l.name, err)
	}
	return nil
}

// heal ends what delay and swallow began. A connection that has swallowed
// something ends, too.
func (l *link) heal() error {
	return l.soon(func() { l.proxy.Toxics.ResetToxics(context.Background()) })
}
