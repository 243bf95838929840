//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"cohortsync/internal/apachekafka"
)

// broker is Kafka: Apache Kafka with a listener for each worker, so that each
// sees its own proxy only, or the embedded one, which has but one address and
// so no proxies, and is not killed.
type broker struct {
	address string
	// listeners and advertised are those of each worker; none are for the
	// embedded broker.
	listeners, advertised []string
	apache                *apachekafka.Broker
	embedded              *process
}

// kafkaCmd is the process of the embedded broker.
type kafkaCmd struct {
	Dir string `required:"" type:"path" help:"Where it keeps its data."`
}

// Run prints the broker's address and serves until ctx ends.
func (cmd kafkaCmd) Run(ctx context.Context, out io.Writer) error {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DataDir(cmd.Dir),
		kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": strconv.Itoa(0)}))
	if err != nil {
		return fmt.Errorf("starting the broker: %w", err)
	}
	defer cluster.Close()
	fmt.Fprintln(out, "broker", cluster.ListenAddrs()[0])
	<-ctx.Done()
	return nil
}

// startEmbedded starts the embedded broker.
func startEmbedded(ctx context.Context, self, dir string) (*broker, error) {
	b := &broker{embedded: &process{
		name: "kafka", program: self, args: []string{"kafka", "--dir", filepath.Join(dir, "kafka")}, log: filepath.Join(dir, "kafka.log"),
	}}
	if err := b.embedded.start(); err != nil {
		return nil, err
	}
	var err error
	b.address, err = b.embedded.firstLine(ctx, "broker")
	return b, err
}

// startApache starts Apache Kafka.
func startApache(ctx context.Context, ports *ports, jars, dir string) (*broker, error) {
	all := make([]string, 2+2*workers)
	for i := range all {
		var err error
		if all[i], err = ports.free(ctx); err != nil {
			return nil, err
		}
	}
	b := &broker{address: all[0], listeners: all[2 : 2+workers], advertised: all[2+workers:]}
	listeners := []apachekafka.Listener{{Name: "DIRECT", Address: b.address}}
	for i := range workers {
		listeners = append(listeners, apachekafka.Listener{Name: fmt.Sprintf("W%d", i+1), Address: b.listeners[i], Advertised: b.advertised[i]})
	}
	var err error
	b.apache, err = apachekafka.New(ctx, apachekafka.Options{
		Jars: jars, Dir: filepath.Join(dir, "kafka"), Controller: all[1], Listeners: listeners,
		// A broker that was killed may register again once its last session has
		// ended, so that is kept short.
		Settings: map[string]string{"broker.session.timeout.ms": "1500", "broker.heartbeat.interval.ms": "300"},
	})
	if err != nil {
		return nil, err
	}
	return b, b.apache.Start(ctx)
}

// close ends the broker.
func (b *broker) close() error {
	if b.apache != nil {
		return b.apache.Close()
	}
	_, err := b.embedded.stop(5 * time.Second)
	return err
}
