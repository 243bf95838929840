package app_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"cohortsync/internal/kafkatest"
)

const (
	topic = "changes"
	dead  = "changes.dead-letter"
)

// startKafka starts a broker with the topic.
func startKafka(t *testing.T, partitions int32) kafkatest.Broker {
	t.Helper()
	cluster := kafkatest.Start(t)
	cluster.Admin().CreateTopic(t, topic, partitions)
	return cluster
}

// startApache returns an Apache Kafka with the topic.
func startApache(t *testing.T, why string, partitions int32) kafkatest.Broker {
	t.Helper()
	cluster := kafkatest.StartApache(t, why)
	cluster.Admin().CreateTopic(t, topic, partitions)
	return cluster
}

// startEmbedded starts an embedded broker with the topic.
func startEmbedded(t *testing.T, why string, partitions int32, opts ...kfake.Opt) *kafkatest.Embedded {
	t.Helper()
	return kafkatest.StartEmbedded(t, why, append([]kfake.Opt{kfake.SeedTopics(partitions, topic)}, opts...)...)
}

// connect returns a client that writes to the partition each record names.
func connect(t *testing.T, cluster kafkatest.Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	return kafkatest.Connect(t, cluster, topic, append([]kgo.Opt{
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(2 << 20),
	}, opts...)...)
}

// produce writes records in order and returns once all are in the log.
func produce(t *testing.T, client *kgo.Client, records ...*kgo.Record) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), inTime)
	defer cancel()
	require.NoError(t, client.ProduceSync(ctx, records...).FirstErr())
}

// entered is a record that says that these users entered the cohort.
func entered(cohort string, users ...string) *kgo.Record { return payload(cohort, true, users) }

// left is a record that says that these users left the cohort.
func left(cohort string, users ...string) *kgo.Record { return payload(cohort, false, users) }

func payload(cohort string, in bool, users []string) *kgo.Record {
	var b strings.Builder
	fmt.Fprintf(&b, `{"cohort_id":%q,"cohort_name":"The cohort %s","in_cohort":%t,"users":[`, cohort, cohort, in)
	for i, u := range users {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"user_id":%q}`, u)
	}
	b.WriteString("]}")
	return &kgo.Record{Key: []byte(cohort), Value: []byte(b.String())}
}

// on puts a record to a partition.
func on(partition int32, r *kgo.Record) *kgo.Record {
	r.Partition = partition
	return r
}

// names returns n different ids.
func names(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s-%d", prefix, i)
	}
	return all
}

// end returns how many offsets a topic has in all its partitions; 0 when there
// is no such topic.
func end(t *testing.T, cluster kafkatest.Broker, topic string) int64 {
	t.Helper()
	return total(cluster.Admin().Ends(t, topic))
}

// committed returns how many offsets a group has committed in all partitions.
func committed(t *testing.T, cluster kafkatest.Broker, group string) int64 {
	t.Helper()
	return total(cluster.Admin().Committed(t, group, topic))
}

func total(offsets map[int32]int64) (sum int64) {
	for _, offset := range offsets {
		sum += offset
	}
	return sum
}

// awaitCommitted waits until the group has committed all of the log.
func awaitCommitted(t *testing.T, cluster kafkatest.Broker, group string) {
	t.Helper()
	eventually(t, func() bool { return committed(t, cluster, group) == end(t, cluster, topic) }, "all of the log is committed")
}

// letters reads n dead letters from the beginning of their topic.
func letters(t *testing.T, cluster kafkatest.Broker, n int) []*kgo.Record {
	t.Helper()
	client := connect(t, cluster, kgo.ConsumeTopics(cluster.Name(dead)), kgo.FetchMaxWait(100*time.Millisecond))
	ctx, cancel := context.WithTimeout(t.Context(), inTime)
	defer cancel()
	var all []*kgo.Record
	for len(all) < n {
		fetches := client.PollFetches(ctx)
		require.NoError(t, ctx.Err(), "%d letters of %d", len(all), n)
		all = append(all, fetches.Records()...)
	}
	require.Len(t, all, n)
	return all
}

// header returns one of our headers of a dead letter.
func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == "__cohortsync.errors."+name {
			return string(h.Value)
		}
	}
	return "(none)"
}

// listenInSilence takes connections and says nothing; each is told on came.
func listenInSilence(t *testing.T) (address string, came <-chan struct{}) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	told := make(chan struct{}, 100)
	var open []net.Conn
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			open = append(open, conn)
			told <- struct{}{}
		}
	})
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		accepting.Wait()
		for _, conn := range open {
			require.NoError(t, conn.Close())
		}
	})
	return l.Addr().String(), told
}
