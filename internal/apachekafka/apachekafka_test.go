//go:build unix

package apachekafka_test

import (
	"cmp"
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"cohortsync/internal/apachekafka"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// jars returns the folder that .ci/kafka-jars fills, or skips the test.
func jars(t *testing.T) string {
	t.Helper()
	folder, err := filepath.Abs(filepath.Join("..", "..", ".cache", "kafka", cmp.Or(os.Getenv("KAFKA_VERSION"), "4.3.0")))
	require.NoError(t, err)
	if _, err := os.Stat(filepath.Join(folder, ".complete")); err != nil {
		t.Skip("needs Apache Kafka's jars: .ci/kafka-jars")
	}
	return folder
}

func unused(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

func TestAKilledBrokerStartsAgainOnItsData(t *testing.T) {
	t.Parallel()
	address := unused(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	broker, err := apachekafka.New(ctx, apachekafka.Options{
		Jars: jars(t), Dir: t.TempDir(), Controller: unused(t),
		Listeners: []apachekafka.Listener{{Name: "DIRECT", Address: address}},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, broker.Close()) }()
	require.NoError(t, broker.Start(ctx))

	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.DefaultProduceTopic("kept"), kgo.ConsumeTopics("kept"))
	require.NoError(t, err)
	defer client.Close()
	create := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "kept", 1, 1
	create.Topics = append(create.Topics, topic)
	_, err = create.RequestWith(ctx, client)
	require.NoError(t, err)
	require.NoError(t, client.ProduceSync(ctx, kgo.StringRecord("before")).FirstErr())

	require.NoError(t, broker.Kill())
	require.False(t, broker.Running())
	require.NoError(t, broker.Start(ctx))
	require.NoError(t, client.ProduceSync(ctx, kgo.StringRecord("after")).FirstErr())
	var read []string
	for len(read) < 2 {
		fetched := client.PollFetches(ctx)
		require.NoError(t, ctx.Err())
		fetched.EachRecord(func(r *kgo.Record) { read = append(read, string(r.Value)) })
	}
	require.Equal(t, []string{"before", "after"}, read)
	require.NoError(t, broker.Stop())
}

func TestAListenerSendsItsClientsToItsOwnProxy(t *testing.T) {
	t.Parallel()
	direct, behind, proxy := unused(t), unused(t), unused(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	broker, err := apachekafka.New(ctx, apachekafka.Options{
		Jars: jars(t), Dir: t.TempDir(), Controller: unused(t),
		Listeners: []apachekafka.Listener{{Name: "DIRECT", Address: direct}, {Name: "W1", Address: behind, Advertised: proxy}},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, broker.Close()) }()
	require.NoError(t, broker.Start(ctx))
	for address, says := range map[string]string{direct: direct, behind: proxy} {
		client, err := kgo.NewClient(kgo.SeedBrokers(address))
		require.NoError(t, err)
		answer, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, client.SeedBrokers()[0])
		require.NoError(t, err)
		host, port := answer.Brokers[0].Host, answer.Brokers[0].Port
		require.Equal(t, says, (&net.TCPAddr{IP: net.ParseIP(host), Port: int(port)}).String())
		client.Close()
	}
}

func TestABrokerThatCannotStartIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	broker, err := apachekafka.New(ctx, apachekafka.Options{
		Jars: jars(t), Dir: t.TempDir(), Controller: unused(t),
		Listeners: []apachekafka.Listener{{Name: "DIRECT", Address: l.Addr().String()}},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, broker.Close()) }()
	require.ErrorContains(t, broker.Start(ctx), "the process has ended")
}

func TestWithoutJarsItSaysHowToGetThem(t *testing.T) {
	t.Parallel()
	_, err := apachekafka.New(t.Context(), apachekafka.Options{Jars: t.TempDir(), Dir: t.TempDir()})
	require.ErrorContains(t, err, ".ci/kafka-jars")
}
