// Command incontainer runs one Kafka in a container until its input ends, and
// prints the address that it listens on.
//
// The image is apache/kafka or one that takes the same variables
// (COHORTSYNC_TEST_KAFKA_IMAGE). TESTCONTAINERS_RYUK_DISABLED=true does without
// the reaper's image: the container goes when this command ends.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"
)

func main() {
	// Nobody may be there any more to read the address; the container has to go
	// all the same.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdin, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "incontainer:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, in) // However it ends, it ends.
	}()
	port, err := unused(ctx)
	if err != nil {
		return fmt.Errorf("looking for a port: %w", err)
	}
	image := cmp.Or(os.Getenv("COHORTSYNC_TEST_KAFKA_IMAGE"), "apache/kafka:4.3.0")
	kafka, err := start(ctx, image, strconv.Itoa(port))
	if err == nil {
		_, err = fmt.Fprintf(out, "127.0.0.1:%d\n", port)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("starting %s: %w", image, err), testcontainers.TerminateContainer(kafka))
	}
	<-ctx.Done()
	return testcontainers.TerminateContainer(kafka)
}

// start starts a container that listens on the port of the loopback address.
// Kafka tells its clients where to go, so the port is the same on both sides of
// the container's wall, and known before it starts.
func start(ctx context.Context, image, port string) (testcontainers.Container, error) {
	inside, err := network.ParsePort(port + "/tcp")
	if err != nil {
		return nil, err
	}
	return testcontainers.Run(ctx, image,
		testcontainers.WithEnv(environment(port)),
		testcontainers.WithExposedPorts(inside.String()),
		testcontainers.WithHostConfigModifier(func(host *container.HostConfig) {
			host.PortBindings = network.PortMap{inside: {{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: port}}}
		}),
		testcontainers.WithWaitStrategyAndDeadline(2*time.Minute, wait.ForListeningPort(inside.String())),
	)
}

// environment configures a broker of one node, which is its own controller,
// with times that suit tests.
func environment(port string) map[string]string {
	return map[string]string{
		"KAFKA_NODE_ID":                                  "1",
		"KAFKA_PROCESS_ROLES":                            "broker,controller",
		"KAFKA_CONTROLLER_QUORUM_VOTERS":                 "1@localhost:19093",
		"KAFKA_CONTROLLER_LISTENER_NAMES":                "CONTROLLER",
		"KAFKA_LISTENERS":                                "PLAINTEXT://:" + port + ",CONTROLLER://:19093",
		"KAFKA_ADVERTISED_LISTENERS":                     "PLAINTEXT://127.0.0.1:" + port,
		"KAFKA_LISTENER_SECURITY_PROTOCOL_MAP":           "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"KAFKA_INTER_BROKER_LISTENER_NAME":               "PLAINTEXT",
		"KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR":         "1",
		"KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS":             "4",
		"KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
		"KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS":     "4",
		"KAFKA_TRANSACTION_STATE_LOG_MIN_ISR":            "1",
		"KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS":         "0",
		"KAFKA_LOG_CLEANER_BACKOFF_MS":                   "200",
		"KAFKA_LOG_RETENTION_CHECK_INTERVAL_MS":          "1000",
		"KAFKA_LOG_INITIAL_TASK_DELAY_MS":                "500",
	}
}

func unused(ctx context.Context) (int, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	address, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, fmt.Errorf("%v is no address of TCP", l.Addr())
	}
	return address.Port, nil
}
