package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"cohortsync/internal/healthcheck"
)

const (
	// headerTimeout ends connections that say nothing.
	headerTimeout = 10 * time.Second
	// closeTimeout is how long requests may take to end when the process does.
	closeTimeout = 2 * time.Second
)

//go:embed page.html
var page []byte

// handler routes between the page, the admin API and Braze.
func (s *simulator) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:")
		_, _ = w.Write(page)
	})
	// A page from elsewhere, open in the same browser, must not reset this.
	mux.Handle("/admin/", http.NewCrossOriginProtection().Handler(s.admin()))
	mux.Handle("GET /metrics", s.metrics())
	// That it answers at all is all there is to say.
	mux.HandleFunc("GET "+healthcheck.Path, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.Handle("/", s.braze)
	return mux
}

// serve serves until ctx ends.
func serve(ctx context.Context, o options, out io.Writer) (err error) {
	s, err := newSimulator(o, time.Now())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.log.close()) }()
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return fmt.Errorf("opening the address (--listen): %w", err)
	}
	greet(out, listener.Addr())
	// Requests outlive ctx by closeTimeout at most: those that are never
	// answered wait for their client, or for this.
	requests, release := context.WithCancel(context.WithoutCancel(ctx))
	defer release()
	server := &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: headerTimeout,
		BaseContext: func(net.Listener) context.Context { return requests },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(requests, closeTimeout)
	defer cancel()
	if err := server.Shutdown(closing); err != nil {
		release()
		_ = server.Close() // Whoever is still connected waits for nothing.
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving: %w", err)
	}
	s.lastWord(out)
	return nil
}

func greet(out io.Writer, at net.Addr) {
	fmt.Fprintf(out, `A SIMULATED Braze: nothing that is sent here reaches Braze, and all is forgotten when it stops.
  endpoint  http://%s   (targets need allow_any_endpoint: true)
  page      http://%s/
Ctrl-C stops it.
`, at, at)
	if tcp, ok := at.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		fmt.Fprintln(out, "It serves other machines, too: whoever can reach it can see and change everything. Send it no real keys and no real users.")
	}
}

// lastWord says what there was.
func (s *simulator) lastWord(out io.Writer) {
	c, requests := s.braze.Counters(), 0
	for _, statuses := range c.Requests {
		for _, n := range statuses {
			requests += n
		}
	}
	fmt.Fprintf(out, "Stopped. It had %d requests with %d accepted operations, and holds %d members.\n", requests, c.Accepted, c.Members)
	if c.Violations == 0 {
		return
	}
	fmt.Fprintf(out, "%d times a client did what none may ever do; the last of them:\n", c.Violations)
	violations := s.braze.Violations()
	for _, v := range violations[max(0, len(violations)-5):] {
		fmt.Fprintln(out, "  "+v)
	}
}
