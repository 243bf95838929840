package broker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
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

	"cohortsync/internal/stream"
)

func letter(partition int) stream.Letter {
	return stream.Letter{
		Partition: partition, Key: []byte("cohort"), Value: []byte("payload"),
		Headers: []stream.Header{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}},
	}
}

func TestALetterGoesToTheSourcesPartitionModuloTheTopics(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 5)
	require.NoError(t, cluster.CreateTopic(dead, 2, nil))
	letters := connect(t, cluster).Letters()

	require.NoError(t, letters.Write(t.Context(), letter(3)))
	bare := letter(4)
	bare.Value = nil
	require.NoError(t, letters.Write(t.Context(), bare))

	reader := producer(t, cluster, kgo.ConsumeTopics(dead))
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
	cluster := startKafka(t, 1)
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
	require.NoError(t, cluster.CreateTopic(dead, 1, map[string]string{"max.message.bytes": "1000"}))
	letters := connect(t, cluster).Letters()
	large := letter(0)
	large.Value = []byte(strings.Repeat("x", 2000))

	require.ErrorIs(t, letters.Write(t.Context(), large), stream.ErrLetterTooLarge)
	require.NoError(t, letters.Write(t.Context(), letter(0)))

	for _, refusal := range []*kerr.Error{kerr.MessageTooLarge, kerr.RecordListTooLarge} {
		cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: dead, Err: refusal})
		require.ErrorIs(t, letters.Write(t.Context(), letter(0)), stream.ErrLetterTooLarge)
	}
}

func TestALetterWithoutItsTopicIsAnErrorAndCreatesNothing(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1, kfake.AllowAutoTopicCreation())
	require.Error(t, connect(t, cluster).Letters().Write(t.Context(), letter(0)))
	require.Nil(t, cluster.TopicInfo(dead))
}

func TestTheDeadLetterTopicIsCreatedAsItsSource(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 3)
	b := connect(t, cluster)

	require.NoError(t, b.EnsureDeadLetterTopic(t.Context()))
	require.NoError(t, b.EnsureDeadLetterTopic(t.Context()), "it may exist")

	info := cluster.TopicInfo(dead)
	require.Equal(t, "delete", *info.Configs["cleanup.policy"])
	require.Equal(t, "1209600000", *info.Configs["retention.ms"])
	require.Len(t, cluster.PartitionInfos(dead), 3)
	require.NoError(t, b.Letters().Write(t.Context(), letter(2)), "it is ready")
}

func TestWhoMayNotCreateTheDeadLetterTopicIsToldHow(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 3)
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.CreateTopics}, Err: kerr.TopicAuthorizationFailed, Count: -1})

	err := connect(t, cluster).EnsureDeadLetterTopic(t.Context())
	var refused *CannotCreateError
	require.ErrorAs(t, err, &refused)
	require.ErrorContains(t, err, "kafka-topics.sh --bootstrap-server "+cluster.ListenAddrs()[0]+
		" --create --topic changes.dead-letter --partitions 3 --config cleanup.policy=delete --config retention.ms=1209600000")
}

func TestAMissingSourceIsNoReasonToGiveUpTheDeadLetterTopic(t *testing.T) {
	t.Parallel()
	cluster := startEmpty(t, kfake.AllowAutoTopicCreation())
	err := connect(t, cluster).EnsureDeadLetterTopic(t.Context())
	require.Error(t, err)
	var refused *CannotCreateError
	require.NotErrorAs(t, err, &refused)
	require.Nil(t, cluster.TopicInfo(topic))
}

func TestGroupsOfNoTargetAreFound(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	b := connect(t, cluster)
	for _, name := range []string{"cohortsync.b", "cohortsync.a", "cohortsync.known", "cohortsyncer.x", "other"} {
		startWorker(t, b, name).owning(t, 1)
	}
	others, err := b.OtherGroups(t.Context(), "cohortsync", []string{"cohortsync.known"})
	require.NoError(t, err)
	require.Equal(t, []string{"cohortsync.a", "cohortsync.b"}, others)
}

func TestEveryConnectionAuthenticatesAndIsEncrypted(t *testing.T) {
	t.Parallel()
	certificate, caFile := selfSigned(t)
	for _, mechanism := range []string{"plain", "scram-sha-256", "scram-sha-512"} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			cluster := startKafka(t, 1, kfake.EnableSASL(), kfake.Superuser(strings.ToUpper(mechanism), "user", "secret"),
				kfake.TLS(&tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}))
			secure := func(password string) func(*Options) {
				return func(o *Options) {
					var err error
					o.TLS, err = TLSConfig(caFile, "", "")
					require.NoError(t, err)
					o.SASL, err = SASLMechanism(mechanism, "user", password)
					require.NoError(t, err)
				}
			}
			b := connect(t, cluster, secure("secret"))
			require.NoError(t, b.EnsureDeadLetterTopic(t.Context()))
			require.NoError(t, b.Letters().Write(t.Context(), letter(0)))
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
	cluster := startKafka(t, 1, kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", "secret"))
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

// selfSigned makes a certificate for the loopback address and writes it as an
// authority.
func selfSigned(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}
