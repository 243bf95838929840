package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"cohortsync/internal/kafkatest"
)

const (
	read            = kmsg.ACLOperationRead
	write           = kmsg.ACLOperationWrite
	describe        = kmsg.ACLOperationDescribe
	describeConfigs = kmsg.ACLOperationDescribeConfigs
	create          = kmsg.ACLOperationCreate
)

// limited starts a broker with both topics and connects as a user with these
// rights.
func limited(t *testing.T, rights ...[]kafkatest.Right) (kafkatest.Broker, *Broker) {
	t.Helper()
	cluster := kafkatest.StartLimited(t, rights...)
	cluster.Admin().CreateTopic(t, topic, 2)
	cluster.Admin().CreateTopic(t, dead, 1)
	return cluster, connect(t, cluster, login(kafkatest.User, kafkatest.Password))
}

func login(user, password string) func(*Options) {
	return func(o *Options) {
		var err error
		if o.SASL, err = SASLMechanism("plain", user, password); err != nil {
			panic(err)
		}
	}
}

// silence is a port that takes connections and says nothing.
func silence(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l.Addr().String()
}

func TestABrokerThatCannotBeReachedSaysHowFarItWent(t *testing.T) {
	t.Parallel()
	plain := startEmbedded(t, "logins and certificates of the test's own", 1).ListenAddrs()[0]
	guarded := startEmbedded(t, "logins and certificates of the test's own", 1, kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", "secret")).ListenAddrs()[0]
	cutting := startEmbedded(t, "logins and certificates of the test's own", 1, kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", "secret"))
	cutting.ControlKey(int16(kmsg.SASLHandshake), func(kmsg.Request) (kmsg.Response, error, bool) {
		return nil, errors.New("cut"), true
	})
	certificate, caFile := kafkatest.Certificate(t)
	secure := startEmbedded(t, "logins and certificates of the test's own", 1, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})).ListenAddrs()[0]
	trusting := func(o *Options) {
		var err error
		o.TLS, err = TLSConfig(caFile, "", "")
		require.NoError(t, err)
	}
	suspicious := func(o *Options) { o.TLS = &tls.Config{MinVersion: tls.VersionTLS12} }
	// kfake says nothing to a greeting that it does not understand.
	impatient := func(o *Options) { suspicious(o); o.NetworkTimeout = 100 * time.Millisecond }
	nothing := func(*Options) {}

	for name, row := range map[string]struct {
		address string
		change  func(*Options)
		want    ReachStage
		says    string
	}{
		"nobody listens":                   {kafkatest.Unused(t).String(), nothing, Connecting, "connection refused"},
		"no such host":                     {"host.invalid:9092", nothing, Connecting, "host.invalid"},
		"TLS where there is none":          {plain, impatient, Securing, "making the connection secure: context deadline exceeded"},
		"a certificate of nobody's":        {secure, suspicious, Securing, "x509"},
		"a wrong password":                 {guarded, login("user", "wr0ng"), LoggingIn, "SASL Authentication Failed"},
		"a login that ends the connection": {cutting.ListenAddrs()[0], login("user", "wr0ng"), LoggingIn, "refuse the login"},
		"no login where one is wanted":     {guarded, nothing, Asking, "asking for the cluster's brokers"},
		"no TLS where it is wanted":        {secure, nothing, Asking, "asking for the cluster's brokers"},
		"a login where TLS is wanted too":  {secure, login("user", "wr0ng"), LoggingIn, "logging in"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, err := New(withDefaults(row.address, row.change))
			require.NoError(t, err)
			err = b.Reach(t.Context(), row.address)
			var failed *ReachError
			require.ErrorAs(t, err, &failed)
			require.Equal(t, row.want, failed.Stage, "%v", err)
			require.ErrorContains(t, err, row.says)
			require.NotContains(t, err.Error(), "wr0ng")
		})
	}
	for name, row := range map[string]struct {
		address string
		change  func(*Options)
	}{
		"plain": {plain, nothing}, "logged in": {guarded, login("user", "secret")}, "secure": {secure, trusting},
	} {
		b, err := New(withDefaults(row.address, row.change))
		require.NoError(t, err)
		require.NoError(t, b.Reach(t.Context(), row.address), name)
	}
}

func TestABrokerThatIsSilentIsGivenUpWithTheContext(t *testing.T) {
	t.Parallel()
	address := silence(t)
	for _, change := range []func(*Options){func(*Options) {}, login("user", "secret")} {
		b, err := New(withDefaults(address, change, func(o *Options) { o.NetworkTimeout = time.Hour }))
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		require.ErrorIs(t, b.Reach(ctx, address), context.DeadlineExceeded)
		cancel()

		ctx, cancel = context.WithCancel(t.Context())
		reached := make(chan error, 1)
		go func() { reached <- b.Reach(ctx, address) }()
		cancel()
		require.ErrorIs(t, receive(t, reached), context.Canceled)
	}
}

func TestATopicIsDescribed(t *testing.T) {
	t.Parallel()
	cluster := startEmpty(t)
	cluster.Admin().CreateTopic(t, topic, 3, "cleanup.policy", "compact,delete", "retention.ms", "86400000")
	cluster.Admin().CreateTopic(t, dead, 1, "retention.ms", "-1")
	b := connect(t, cluster)

	got, err := b.Describe(t.Context(), cluster.Name(topic))
	require.NoError(t, err)
	require.Equal(t, Topic{Partitions: 3, Policy: "compact,delete", Retention: 24 * time.Hour}, got)
	require.True(t, Compacted(got.Policy))

	got, err = b.Describe(t.Context(), cluster.Name(dead))
	require.NoError(t, err)
	require.Equal(t, "delete", got.Policy)
	require.False(t, Compacted(got.Policy))
	require.Negative(t, got.Retention, "for ever")
}

func TestATopicThatIsMissingOrHiddenIsNotDescribed(t *testing.T) {
	t.Parallel()
	cluster := startEmpty(t)
	_, err := connect(t, cluster).Describe(t.Context(), cluster.Name(topic))
	require.True(t, Missing(err), "%v", err)
	require.False(t, Denied(err))
	require.Zero(t, cluster.Admin().Partitions(t, topic))

	cluster, b := limited(t, kafkatest.OnTopic(topic, read))
	got, err := b.Describe(t.Context(), cluster.Name(topic))
	require.NoError(t, err, "Read includes Describe")
	require.Equal(t, 2, got.Partitions)
	require.True(t, Denied(got.ConfigErr), "but not DescribeConfigs: %v", got.ConfigErr)

	_, err = b.Describe(t.Context(), cluster.Name(dead))
	require.True(t, Denied(err), "%v", err)
	require.False(t, Missing(err))
}

func TestTheRightToReadTheTopicIsShownByReading(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 2)
	produce(t, cluster, 0, numbered(3)...)
	require.NoError(t, connect(t, cluster).MayRead(t.Context()))

	_, b := limited(t, kafkatest.OnTopic(topic, describe))
	require.True(t, Denied(b.MayRead(t.Context())))
	_, b = limited(t, kafkatest.OnTopic(topic, read))
	require.NoError(t, b.MayRead(t.Context()))
}

func TestTheRightToUseAGroupIsToldByItsCoordinator(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		rights []kafkatest.Right
		denied bool
	}{
		"all that is needed": {kafkatest.OnGroups("cohortsync.", read), false},
		"Describe only":      {kafkatest.OnGroups("cohortsync.", describe), true},
		"other groups":       {kafkatest.OnGroups("others.", read), true},
		"nothing":            {nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster, b := limited(t, row.rights)
			err := b.MayUseGroup(t.Context(), cluster.Name("cohortsync.us"))
			require.Equal(t, row.denied, Denied(err), "%v", err)
			require.Equal(t, row.denied, err != nil)
			require.Equal(t, "Dead", cluster.Admin().Group(t, "cohortsync.us").State, "it is not created")
		})
	}
}

func TestAnOldBrokerDoesNotTellTheRightsOnAGroup(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "a broker of an old version", 1, kfake.MaxVersions(kversion.V2_2_0()))
	require.ErrorIs(t, connect(t, cluster).MayUseGroup(t.Context(), group), ErrUntold)
}

func TestACoordinatorThatIsYetToBeNamedIsAskedAgain(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "faults in its answers", 1)
	b := connect(t, cluster)
	for _, passing := range []*kerr.Error{kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.CoordinatorLoadInProgress} {
		fault := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeGroups}, Group: group, Err: passing, Count: 1})
		require.NoError(t, b.MayUseGroup(t.Context(), group), passing.Message)
		require.Equal(t, 1, fault.Hits())
	}
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeGroups}, Group: group, Err: kerr.CoordinatorNotAvailable, Count: -1})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	require.ErrorContains(t, b.MayUseGroup(ctx, group), "Coordinator Not Available", "the last answer says more than the time that ran out")
}

func TestAQuestionThatTheEndOfTheTimeCutsShortHidesNoAnswer(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	answers := []error{kafka.GroupCoordinatorNotAvailable, errors.New("i/o timeout")}
	err := settled(ctx, func() error {
		answer := answers[0]
		if answers = answers[1:]; len(answers) == 0 {
			cancel()
		}
		return answer
	})
	require.ErrorIs(t, err, kafka.GroupCoordinatorNotAvailable)
}

func TestCommitsAreCountedByPartition(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 3)
	b := connect(t, cluster)
	n, err := b.Commits(t.Context(), cluster.Name(group))
	require.NoError(t, err)
	require.Zero(t, n)

	gen := startWorker(t, b, group).owning(t, 3)
	require.NoError(t, gen.Commit(t.Context(), map[int]int64{0: 0, 2: 0}))
	n, err = b.Commits(t.Context(), cluster.Name(group))
	require.NoError(t, err)
	require.Equal(t, 2, n)
}

func TestTheRightToWriteLettersIsShownWithoutALetter(t *testing.T) {
	t.Parallel()
	cluster, b := limited(t, kafkatest.OnTopic(dead, write))
	require.NoError(t, b.MayWriteLetters(t.Context()))
	require.Equal(t, map[int32]int64{0: 0}, cluster.Admin().Ends(t, dead))

	_, b = limited(t, kafkatest.OnTopic(dead, read))
	require.True(t, Denied(b.MayWriteLetters(t.Context())))
}

func TestAnAnswerThatShowsNoRightToWriteLettersIsNoAnswer(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "faults in its answers", 1, kfake.SeedTopics(1, dead))
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: dead, Err: kerr.UnknownServerError})
	require.ErrorIs(t, connect(t, cluster).MayWriteLetters(t.Context()), ErrUntold)

	// As Kafka before it looked for the right first.
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		return nil, errors.New("cut"), true
	})
	require.ErrorIs(t, connect(t, cluster).MayWriteLetters(t.Context()), ErrUntold)
}

// Kafka says INVALID_RECORD where kfake says CORRUPT_MESSAGE.
func TestKafkasOwnAnswerToNothingShowsTheRight(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "faults in its answers", 1, kfake.SeedTopics(1, dead))
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: dead, Err: kerr.InvalidRecord})
	require.NoError(t, connect(t, cluster).MayWriteLetters(t.Context()))
}

func TestWhetherTheDeadLetterTopicCanBeCreatedIsAskedWithoutCreatingIt(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		rights []kafkatest.Right
		denied bool
	}{
		"with Create":    {kafkatest.OnTopic(dead, create, describe), false},
		"without Create": {kafkatest.OnTopic(dead, describe, write), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := kafkatest.StartLimited(t, row.rights, kafkatest.OnTopic(topic, read))
			cluster.Admin().CreateTopic(t, topic, 3)
			b := connect(t, cluster, login(kafkatest.User, kafkatest.Password), func(o *Options) { o.NetworkTimeout = time.Hour })
			ctx, cancel := context.WithTimeout(t.Context(), inTime)
			defer cancel()
			err := b.MayCreateDeadLetterTopic(ctx)
			require.NoError(t, ctx.Err(), "the answer is not held back until the topic is there")
			require.Equal(t, row.denied, Denied(err), "%v", err)
			var refused *CannotCreateError
			require.Equal(t, row.denied, errors.As(err, &refused))
			require.Zero(t, cluster.Admin().Partitions(t, dead))
		})
	}
}
