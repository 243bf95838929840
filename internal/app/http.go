package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// The server's own time limits: nobody who may read metrics needs longer.
const (
	readTimeout  = 10 * time.Second
	writeTimeout = 30 * time.Second
	closeTimeout = 2 * time.Second
)

// server answers for health, readiness and metrics.
type server struct {
	listener net.Listener
	http     *http.Server
}

// listen opens the address, so that a taken port is an error at start.
func listen(ctx context.Context, address string, health *health, gatherer prometheus.Gatherer) (*server, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("opening the address of health and metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", health.serveHealth)
	mux.HandleFunc("GET /readyz", health.serveReady)
	mux.Handle("GET /metrics", promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	return &server{
		listener: listener,
		http:     &http.Server{Handler: mux, ReadTimeout: readTimeout, WriteTimeout: writeTimeout},
	}, nil
}

// run serves until ctx ends.
func (s *server) run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving health and metrics: %w", err)
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := s.http.Shutdown(closing); err != nil {
		// A scrape that hangs must not hold up the exit.
		return errors.Join(s.http.Close(), closedServer(<-served))
	}
	return closedServer(<-served)
}

// closedServer returns what a server says at its end, unless it was told to.
func closedServer(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving health and metrics: %w", err)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	// The client has gone when this fails; there is nobody to tell.
	_ = encoder.Encode(body) //nolint:errchkjson // Every body is a struct that encodes.
}
