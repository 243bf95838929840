package broker

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cohortsync/internal/kafkatest"
	"cohortsync/internal/stream"
)

func letter(partition int) stream.Letter {
	return stream.Letter{
		Partition: partition, Key: []byte("cohort"), Value: []byte("payload"),
		Headers: []stream.Header{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}},
	}
}

// writeSoon writes a letter to a topic that was just created: Apache Kafka says
// that a topic is there a moment before its partitions are.
func writeSoon(t *testing.T, b *Broker, l stream.Letter) {
	t.Helper()
	require.Eventually(t, func() bool { return b.Letters().Write(t.Context(), l) == nil }, inTime, often)
}

func TestALetterGoesToTheSourcesPartitionModuloTheTopics(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 5)
	cluster.Admin().CreateTopic(t, dead, 2)
	letters := connect(t, cluster).Letters()

	require.NoError(t, letters.Write(t.Context(), letter(3)))
	bare := letter(4)
	bare.Value = nil
	require.NoError(t, letters.Write(t.Context(), bare))

	reader := producer(t, cluster, kgo.ConsumeTopics(cluster.Name(dead)))
	got := map[int32]*kgo.Record{}
	for len(got) < 2 {
		fetches := reader.PollFetches(t.Context())
		require.NoError(t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) { got[r.Partition] = r })
	}
	require.Equal(t, "payload", string(got[1].Value))
	require.Equal(t, "cohort", string(got[1].Key))
	require.Equal(t, []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}}, got[1].Headers)
	require.WithinDuration(t, time.Now(), got[1].Timestamp, time.Minute)
	require.Nil(t, got[0].Value)
}

func TestALetterThatIsNotAcknowledgedIsAnError(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "faults in its answers", 1)
	require.NoError(t, cluster.CreateTopic(dead, 1, nil))
	letters := connect(t, cluster).Letters()
	acks := observe(cluster, kmsg.Produce, func(r kmsg.Request) bool { return r.(*kmsg.ProduceRequest).Acks == -1 })

	for _, refusal := range []*kerr.Error{kerr.NotEnoughReplicasAfterAppend, kerr.NotLeaderForPartition, kerr.TopicAuthorizationFailed, kerr.RequestTimedOut} {
		cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: dead, Err: refusal})
		err := letters.Write(t.Context(), letter(0))
		require.Error(t, err, refusal.Message)
		require.NotErrorIs(t, err, stream.ErrLetterTooLarge)
	}
	require.NoError(t, letters.Write(t.Context(), letter(0)), "it goes when the broker takes it")
	require.Equal(t, 5, acks.Hits(), "every one asks for all replicas")
}

func TestALetterThatIsTooLargeSaysSo(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	cluster.Admin().CreateTopic(t, dead, 1, "max.message.bytes", "1000")
	letters := connect(t, cluster).Letters()
	large := letter(0)
	large.Value = []byte(strings.Repeat("x", 2000))

	require.ErrorIs(t, letters.Write(t.Context(), large), stream.ErrLetterTooLarge)
	require.NoError(t, letters.Write(t.Context(), letter(0)))
}

func TestBothAnswersForTooLargeAreUnderstood(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "faults in its answers", 1, kfake.SeedTopics(1, dead))
	letters := connect(t, cluster).Letters()
	for _, refusal := range []*kerr.Error{kerr.MessageTooLarge, kerr.RecordListTooLarge} {
		cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: dead, Err: refusal})
		require.ErrorIs(t, letters.Write(t.Context(), letter(0)), stream.ErrLetterTooLarge)
	}
}

func TestALetterWithoutItsTopicIsAnErrorAndCreatesNothing(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	require.Error(t, connect(t, cluster).Letters().Write(t.Context(), letter(0)))
	require.Zero(t, cluster.Admin().Partitions(t, dead))
}

func TestTheDeadLetterTopicIsCreatedAsItsSource(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 3)
	b := connect(t, cluster)

	require.NoError(t, b.EnsureDeadLetterTopic(t.Context()))
	require.NoError(t, b.EnsureDeadLetterTopic(t.Context()), "it may exist")

	require.Equal(t, "delete", cluster.Admin().Config(t, dead, "cleanup.policy"))
	require.Equal(t, "1209600000", cluster.Admin().Config(t, dead, "retention.ms"))
	require.Equal(t, 3, cluster.Admin().Partitions(t, dead))
	writeSoon(t, b, letter(2))
}

func TestWhoMayNotCreateTheDeadLetterTopicIsToldHow(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "faults in its answers", 3)
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.CreateTopics}, Err: kerr.TopicAuthorizationFailed, Count: -1})

	err := connect(t, cluster).EnsureDeadLetterTopic(t.Context())
	var refused *CannotCreateError
	require.ErrorAs(t, err, &refused)
	require.ErrorContains(t, err, "kafka-topics.sh --bootstrap-server "+cluster.ListenAddrs()[0]+
		" --create --topic changes.dead-letter --partitions 3 --config cleanup.policy=delete --config retention.ms=1209600000")
}

func TestAMissingSourceIsNoReasonToGiveUpTheDeadLetterTopic(t *testing.T) {
	t.Parallel()
	cluster := startEmpty(t)
	err := connect(t, cluster).EnsureDeadLetterTopic(t.Context())
	require.Error(t, err)
	var refused *CannotCreateError
	require.NotErrorAs(t, err, &refused)
	require.Zero(t, cluster.Admin().Partitions(t, topic))
}

func TestGroupsOfNoTargetAreFound(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	b := connect(t, cluster)
	for _, name := range []string{"cohortsync.b", "cohortsync.a", "cohortsync.known", "cohortsyncer.x", "other"} {
		startWorker(t, b, name).owning(t, 1)
	}
	others, err := b.OtherGroups(t.Context(), cluster.Name("cohortsync"), []string{cluster.Name("cohortsync.known")})
	require.NoError(t, err)
	require.Equal(t, []string{cluster.Name("cohortsync.a"), cluster.Name("cohortsync.b")}, others)
}

func TestEveryConnectionAuthenticatesAndIsEncrypted(t *testing.T) {
	t.Parallel()
	for _, mechanism := range []string{"plain", "scram-sha-256", "scram-sha-512"} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			cluster, access := kafkatest.StartSecured(t, mechanism)
			cluster.Admin().CreateTopic(t, topic, 1)
			secure := func(password string) func(*Options) {
				return func(o *Options) {
					var err error
					o.TLS, err = TLSConfig(access.CAFile, "", "")
					require.NoError(t, err)
					o.SASL, err = SASLMechanism(mechanism, access.User, password)
					require.NoError(t, err)
				}
			}
			b := connect(t, cluster, secure(access.Password))
			require.NoError(t, b.EnsureDeadLetterTopic(t.Context()))
			writeSoon(t, b, letter(0))
			gen := startWorker(t, b, group).owning(t, 1)
			require.NoError(t, gen.Commit(t.Context(), map[int]int64{0: 0}))
			cursor := b.Log().Open(0)
			t.Cleanup(func() { require.NoError(t, cursor.Close()) })
			_, err := cursor.Fetch(t.Context(), 0, 1<<20)
			require.NoError(t, err)
			_, err = b.survey(t.Context(), 0, 0, 1)
			require.NoError(t, err)

			_, err = connect(t, cluster, secure("wr0ng")).Log().Bounds(t.Context(), []int{0})
			require.Error(t, err)
			require.NotContains(t, err.Error(), "wr0ng")
		})
	}
}

func TestABrokerThatGoesSilentWhileAuthenticatingIsGivenUp(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "a request that it holds back", 1, kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", "secret"))
	holdNext(t, cluster, kmsg.SASLHandshake)
	mechanism, err := SASLMechanism("plain", "user", "secret")
	require.NoError(t, err)
	b := connect(t, cluster, func(o *Options) { o.SASL, o.NetworkTimeout = mechanism, 200*time.Millisecond })

	ctx, cancel := context.WithTimeout(t.Context(), inTime)
	defer cancel()
	require.Eventually(t, func() bool {
		_, err := b.Log().Bounds(ctx, []int{0})
		return err == nil
	}, inTime, often, "the next connection is let in")
}

func TestTLSAndSASLSettingsThatCannotWorkAreRefused(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing")
	noPEM := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(noPEM, []byte("no certificate"), 0o600))
	for name, files := range map[string][3]string{
		"missing authorities": {missing}, "authorities that are none": {noPEM},
		"a certificate alone": {"", noPEM}, "a key alone": {"", "", noPEM}, "a pair that is none": {"", noPEM, noPEM},
	} {
		_, err := TLSConfig(files[0], files[1], files[2])
		require.Error(t, err, name)
	}
	_, err := SASLMechanism("gssapi", "user", "hush")
	require.ErrorContains(t, err, "scram-sha-512")
	none, err := SASLMechanism("none", "", "")
	require.NoError(t, err)
	require.Nil(t, none)
	_, err = SASLMechanism("scram-sha-256", "user", "hush\x00\u0007")
	if err != nil {
		require.NotContains(t, err.Error(), "hush")
	}
}
