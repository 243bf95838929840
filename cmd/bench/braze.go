package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// brazeCmd is the process of a Braze that takes everything. It reads no more
// of a request than it must, for on a machine with few processors whatever it
// does comes out of the worker's time; cmd/brazesim is the one that checks.
type brazeCmd struct {
	Latency time.Duration `help:"How long an answer takes."`
}

// Run prints the address and serves until ctx ends.
func (cmd brazeCmd) Run(ctx context.Context, out io.Writer) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("opening Braze's address: %w", err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if cmd.Latency > 0 {
			time.Sleep(cmd.Latency)
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"message":"success"}`)
	})}
	fmt.Fprintln(out, "http://"+listener.Addr().String())
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	<-ctx.Done()
	err = server.Close()
	if serveErr := <-served; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
}
