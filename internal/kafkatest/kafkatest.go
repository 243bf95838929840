// Package kafkatest gives a test a Kafka broker, a client of it that is not
// the worker's, and an administrator.
//
// Most tests run on any broker: see Start. The environment says on which,
// COHORTSYNC_TEST_KAFKA. A test that needs what only one kind can do asks for
// that kind, and is skipped on the others.
package kafkatest

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Connect returns a client that writes to the topic, in the partition that each
// record names.
func Connect(t *testing.T, broker Broker, topic string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(broker.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.DefaultProduceTopic(broker.Name(topic)), kgo.MetadataMinAge(10 * time.Millisecond),
	}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

// Unused returns a loopback address at which nothing listens.
func Unused(t *testing.T) *net.TCPAddr {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	addr, ok := l.Addr().(*net.TCPAddr)
	require.True(t, ok)
	return addr
}
