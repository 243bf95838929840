package broker

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cohortsync/internal/kafkatest"
	"cohortsync/internal/stream"
)

const group = "cohortsync.test"

func TestAMemberOwnsAllPartitionsAndIsFreshUntilItCommits(t *testing.T) {
	t.Parallel()
	w := startWorker(t, connect(t, startKafka(t, 3)), group)

	gen := w.owning(t, 3)
	owned, total := gen.Assigned()
	require.Equal(t, []stream.Assignment{{Partition: 0, Committed: -1}, {Partition: 1, Committed: -1}, {Partition: 2, Committed: -1}}, owned)
	require.Equal(t, 3, total)
	require.True(t, gen.Fresh())
	w.eventually(t, Joined)
	require.Empty(t, w.Status().LastError)

	require.NoError(t, gen.Commit(t.Context(), map[int]int64{0: 0, 2: 7}))
	require.False(t, gen.Fresh())

	close(gen.release)
	gen = w.owning(t, 3)
	owned, _ = gen.Assigned()
	require.Equal(t, []stream.Assignment{{Partition: 0, Committed: 0}, {Partition: 1, Committed: -1}, {Partition: 2, Committed: 7}}, owned)
	require.False(t, gen.Fresh())
}

func TestAMemberOfAGroupWithACommitIsNotFresh(t *testing.T) {
	t.Parallel()
	b := connect(t, startKafka(t, 2))
	first := startWorker(t, b, group)
	require.NoError(t, first.owning(t, 2).Commit(t.Context(), map[int]int64{1: 0}))
	first.quit(t)

	require.False(t, startWorker(t, b, group).owning(t, 2).Fresh())
}

func TestAMissingTopicIsWaitedForAndNeverCreated(t *testing.T) {
	t.Parallel()
	cluster := startBare(t, "a look at each request", kfake.AllowAutoTopicCreation())
	joins := observe(cluster, kmsg.JoinGroup, nil)
	creating := observe(cluster, kmsg.Metadata, createsTopics)
	var log lines
	b := connect(t, cluster, log.option)
	w := startWorker(t, b, group)
	looked := observe(cluster, kmsg.Metadata, nil)
	w.eventually(t, WaitingForTopic)
	require.Contains(t, w.Status().LastError, topic)
	require.Eventually(t, func() bool { return looked.Hits() > 2 }, inTime, often)

	require.Nil(t, cluster.TopicInfo(topic))
	require.Zero(t, joins.Hits())
	require.Equal(t, 1, log.with("waiting for the topic"), "it is said once")

	require.NoError(t, cluster.CreateTopic(topic, 2, nil))
	w.owning(t, 2)
	require.LessOrEqual(t, joins.Hits(), 2, "no storm of generations")
	require.Zero(t, creating.Hits())
}

func createsTopics(r kmsg.Request) bool {
	m, ok := r.(*kmsg.MetadataRequest)
	return ok && m.AllowAutoTopicCreation
}

func TestADeletedTopicIsLeftAndJoinedAgainWhenItIsBack(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "a look at each request", 2, kfake.AllowAutoTopicCreation())
	creating := observe(cluster, kmsg.Metadata, createsTopics)
	joins := observe(cluster, kmsg.JoinGroup, nil)
	one := startWorker(t, connect(t, cluster), group)
	one.owning(t, 2)
	two := startWorker(t, connect(t, cluster), group)
	one.owning(t, 1)
	two.owning(t, 1)

	require.NoError(t, cluster.DeleteTopic(topic))

	// One leaves before the other, which makes the other a leader that looks
	// the topic up.
	one.eventually(t, WaitingForTopic)
	two.eventually(t, WaitingForTopic)
	waitMembers(t, cluster, 0)
	require.Nil(t, cluster.TopicInfo(topic), "nobody has created it")
	require.Zero(t, creating.Hits())
	require.Less(t, joins.Hits(), 12, "no storm of generations")

	require.NoError(t, cluster.CreateTopic(topic, 2, nil))
	one.owning(t, 1)
	two.owning(t, 1)
}

func waitMembers(t *testing.T, cluster *kafkatest.Embedded, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), inTime)
	defer cancel()
	_, err := cluster.WaitGroupInfo(ctx, group, func(g *kfake.GroupInfo) bool { return g == nil || len(g.Members) == n })
	require.NoError(t, err)
}

func TestAddedPartitionsAreAssigned(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 2)
	w := startWorker(t, connect(t, cluster), group)
	require.NoError(t, w.owning(t, 2).Commit(t.Context(), map[int]int64{0: 0, 1: 0}))

	cluster.Admin().SetPartitions(t, topic, 5)

	gen := w.owning(t, 5)
	_, total := gen.Assigned()
	require.Equal(t, 5, total)
	require.False(t, gen.Fresh(), "a new partition does not make the group new")
}

func TestACompactedTopicIsRefused(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"compact", "compact,delete"} {
		cluster := startEmpty(t)
		cluster.Admin().CreateTopic(t, topic, 1, "cleanup.policy", policy)

		err := connect(t, cluster).Membership(group).Run(t.Context(), nil)
		var refused *CompactedTopicError
		require.ErrorAs(t, err, &refused)
		require.ErrorContains(t, err, "kafka.allow_compacted")

		allowed := startWorker(t, connect(t, cluster, func(o *Options) { o.AllowCompacted = true }), group)
		allowed.owning(t, 1)
	}
}

func TestWhoMayNotSeeTheConfigurationIsWarnedAndJoins(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "faults in its answers", 1)
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.DescribeConfigs}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	var log lines
	startWorker(t, connect(t, cluster, log.option), group).owning(t, 1)
	require.Equal(t, 1, log.with("cannot see whether the topic is compacted"))
}

func TestABrokerThatIsDownAtStartIsWaitedFor(t *testing.T) {
	t.Parallel()
	const why = "a broker that comes later"
	kafkatest.NeedsEmbedded(t, why)
	address := kafkatest.Unused(t)
	var log lines
	b, err := New(withDefaults(address.String(), log.option))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	w := startWorker(t, b, group)
	w.eventually(t, NoBroker)
	since := w.Status().Since
	require.NotEmpty(t, w.Status().LastError)
	require.Equal(t, since, w.Status().Since, "it counts from the first failure")

	startEmbedded(t, why, 1, kfake.Ports(address.Port))

	w.owning(t, 1)
	require.Equal(t, 1, log.with("cannot join the consumer group"), "it is said once")
}

func TestABrokerThatGoesDownIsNoticedAndCameBackTo(t *testing.T) {
	t.Parallel()
	port := kafkatest.Unused(t).Port
	dir := t.TempDir()
	cluster := startEmbedded(t, "a broker that comes and goes", 1, kfake.Ports(port), kfake.DataDir(dir))
	w := startWorker(t, connect(t, cluster), group)
	gen := w.owning(t, 1)
	require.NoError(t, gen.Commit(t.Context(), map[int]int64{0: 0}))

	cluster.Close()

	w.eventually(t, NoBroker)
	require.Error(t, gen.ctx.Err())

	startEmbedded(t, "a broker that comes and goes", 1, kfake.Ports(port), kfake.DataDir(dir))
	owned, _ := w.owning(t, 1).Assigned()
	require.Equal(t, int64(0), owned[0].Committed)
	w.eventually(t, Joined)
}

func TestTheNextOwnerStartsOnlyAfterTheLastHasStopped(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 2)
	drained := make(chan struct{})
	draining := make(chan struct{})
	var stopped atomic.Bool
	var once atomic.Bool
	one := startServing(t, connect(t, cluster), group, func(_ context.Context, gen stream.Generation) {
		if !once.CompareAndSwap(false, true) {
			return
		}
		close(draining)
		<-drained
		// The commit of the drain is in time.
		if err := gen.Commit(context.Background(), map[int]int64{0: 11, 1: 12}); err == nil {
			stopped.Store(true)
		}
	})
	one.owning(t, 2)
	two := startWorker(t, connect(t, cluster), group)
	receive(t, draining)
	select {
	case <-two.generations:
		require.FailNow(t, "the second member has started beside the first")
	default:
	}

	close(drained)

	gen := two.owning(t, 1)
	require.True(t, stopped.Load(), "the commit was accepted, and came first")
	owned, _ := gen.Assigned()
	require.Equal(t, int64(11+owned[0].Partition), owned[0].Committed)
}

func TestACommitAfterTheGenerationIsRefused(t *testing.T) {
	t.Parallel()
	w := startWorker(t, connect(t, startKafka(t, 1)), group)
	old := w.owning(t, 1)
	require.NoError(t, old.Commit(t.Context(), map[int]int64{0: 5}))
	close(old.release)
	next := w.owning(t, 1)

	require.Error(t, old.Commit(t.Context(), map[int]int64{0: 3}))

	owned, _ := next.Assigned()
	require.Equal(t, int64(5), owned[0].Committed)
}

func TestACommitThatABrokerRefusesForOnePartitionIsAnError(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "faults in its answers", 2)
	gen := startWorker(t, connect(t, cluster), group).owning(t, 2)
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Topic: topic, Partitions: []int32{1}, Err: kerr.OffsetMetadataTooLarge})

	require.Error(t, gen.Commit(t.Context(), map[int]int64{0: 1, 1: 1}))
	require.NoError(t, gen.Commit(t.Context(), map[int]int64{0: 1, 1: 1}))
}

func TestACommitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "a request that it holds back", 1)
	gen := startWorker(t, connect(t, cluster), group).owning(t, 1)
	held, letGo := holdNext(t, cluster, kmsg.OffsetCommit)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() { failed <- gen.Commit(ctx, map[int]int64{0: 1}) }()
	receive(t, held)

	cancel()
	require.ErrorIs(t, receive(t, failed), context.Canceled)

	letGo()
	require.NoError(t, gen.Commit(t.Context(), map[int]int64{0: 2}), "the next one waits for it")
}

// kafka-go keeps no order between two commits, and the lower one would move the
// group back: whoever gives up before it is its turn has sent nothing.
func TestNoCommitIsSentWhileAnotherIsUnderWay(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "a request that it holds back", 1)
	w := startWorker(t, connect(t, cluster), group)
	gen := w.owning(t, 1)
	commits := observe(cluster, kmsg.OffsetCommit, nil)
	held, letGo := holdNext(t, cluster, kmsg.OffsetCommit)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() { failed <- gen.Commit(ctx, map[int]int64{0: 1}) }()
	receive(t, held)
	cancel()
	require.ErrorIs(t, receive(t, failed), context.Canceled)

	for range 20 {
		require.ErrorIs(t, gen.Commit(ctx, map[int]int64{0: 7}), context.Canceled)
	}

	letGo()
	require.NoError(t, gen.Commit(t.Context(), map[int]int64{0: 2}), "it has its turn after the first")
	w.quit(t) // All commits are over.
	require.Equal(t, 2, commits.Hits())
	require.Equal(t, int64(2), cluster.GroupInfo(group).Commits[topic][0].Offset)
}

func TestTheGroupIsKeptWithTheTimesThatWereGiven(t *testing.T) {
	t.Parallel()
	b, err := New(withDefaults("127.0.0.1:1", func(o *Options) {
		o.SessionTimeout, o.RebalanceTimeout, o.HeartbeatInterval = 11*time.Second, 12*time.Second, 13*time.Second
		o.JoinBackoff, o.NetworkTimeout = 14*time.Second, 15*time.Second
	}))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })

	config := b.Membership(group).config(newConnections(b.dial))

	require.Equal(t, group, config.ID)
	require.Equal(t, []string{topic}, config.Topics)
	require.Equal(t, 11*time.Second, config.SessionTimeout)
	require.Equal(t, 12*time.Second, config.RebalanceTimeout)
	require.Equal(t, 13*time.Second, config.HeartbeatInterval)
	require.Equal(t, 14*time.Second, config.JoinGroupBackoff)
	require.Equal(t, 15*time.Second, config.Timeout)
	require.Len(t, config.GroupBalancers, 1, "the members must agree on one")
	require.False(t, config.WatchPartitionChanges, "without its topic, kafka-go's own watch makes thousands of generations a second")
}

func TestAFaultyOffsetFetchIsNotTakenForNoCommit(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*kmsg.OffsetFetchResponse){
		"an error for all": func(r *kmsg.OffsetFetchResponse) { r.ErrorCode = kerr.CoordinatorLoadInProgress.Code },
		"an error for one partition": func(r *kmsg.OffsetFetchResponse) {
			r.Topics[0].Partitions[1].ErrorCode = kerr.UnstableOffsetCommit.Code
		},
		"a partition left out": func(r *kmsg.OffsetFetchResponse) { r.Topics[0].Partitions = r.Topics[0].Partitions[:1] },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := startEmbedded(t, "answers made by hand", 2)
			b := connect(t, cluster)
			first := startWorker(t, b, group)
			require.NoError(t, first.owning(t, 2).Commit(t.Context(), map[int]int64{0: 5, 1: 6}))
			first.quit(t)
			asked := spoilOffsetFetch(cluster, spoil)

			gen := startWorker(t, b, group).owning(t, 2)

			require.Greater(t, asked.Load(), int64(3))
			owned, _ := gen.Assigned()
			require.Equal(t, []stream.Assignment{{Partition: 0, Committed: 5}, {Partition: 1, Committed: 6}}, owned)
			require.False(t, gen.Fresh())
		})
	}
}

// spoilOffsetFetch makes answers to us say that there is no commit, and spoils
// them: the first, before the member joins, and the third, the first in its
// generation. kafka-go asks for itself as well, in the older version 1.
func spoilOffsetFetch(cluster *kafkatest.Embedded, spoil func(*kmsg.OffsetFetchResponse)) *atomic.Int64 {
	var asked atomic.Int64
	cluster.ControlKey(int16(kmsg.OffsetFetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
		if request.GetVersion() < 2 {
			return nil, nil, false
		}
		if n := asked.Add(1); n != 1 && n != 3 {
			return nil, nil, false
		}
		cluster.KeepControl()
		answer := request.ResponseKind().(*kmsg.OffsetFetchResponse)
		answered := kmsg.NewOffsetFetchResponseTopic()
		answered.Topic = topic
		for partition := range int32(2) {
			p := kmsg.NewOffsetFetchResponseTopicPartition()
			p.Partition, p.Offset = partition, -1
			answered.Partitions = append(answered.Partitions, p)
		}
		answer.Topics = append(answer.Topics, answered)
		spoil(answer)
		return answer, nil, true
	})
	return &asked
}

func TestTheEndOfRunLeavesTheGroup(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 1)
	w := startWorker(t, connect(t, cluster), group)
	w.owning(t, 1)
	require.Len(t, cluster.Admin().Group(t, group).Members, 1)

	w.quit(t)

	require.NoError(t, w.err)
	require.Empty(t, cluster.Admin().Group(t, group).Members)
	require.Equal(t, Left, w.Status().State)
}

func TestTheEndOfRunIsBoundedWhileAJoinHangs(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "a request that it holds back", 1)
	held, _ := holdNext(t, cluster, kmsg.JoinGroup)
	w := startWorker(t, connect(t, cluster, func(o *Options) {
		o.DrainTimeout = 100 * time.Millisecond
		o.NetworkTimeout = time.Hour
	}), group)
	receive(t, held)

	w.quit(t)

	require.NoError(t, w.err)
}

func TestThePartitionsAreSpreadEvenly(t *testing.T) {
	t.Parallel()
	cluster := startKafka(t, 7)
	startWorker(t, connect(t, cluster), group).owning(t, 7)
	two := startWorker(t, connect(t, cluster), group)
	gen := receive(t, two.generations)
	owned, total := gen.Assigned()
	require.Contains(t, []int{3, 4}, len(owned))
	require.Equal(t, 7, total)
}

func TestEachMembersPartitionsAreOneStretch(t *testing.T) {
	t.Parallel()
	var count atomic.Int64
	var partitions []kafka.Partition
	for _, id := range []int{3, 0, 4, 1, 2} { // Brokers name them in any order.
		partitions = append(partitions, kafka.Partition{Topic: topic, ID: id})
	}
	members := []kafka.GroupMember{{ID: "b", Topics: []string{topic}}, {ID: "a", Topics: []string{topic}}}

	require.Equal(t, kafka.GroupMemberAssignments{"a": {topic: {0, 1}}, "b": {topic: {2, 3, 4}}},
		balancer{count: &count}.AssignGroups(members, partitions))
	require.Equal(t, int64(5), count.Load())
}

// On a new cluster that takes a second or so, and is no reason to warn anybody.
func TestACoordinatorThatIsNotThereYetIsNoTrouble(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "faults", 1)
	var logs lines
	var faults []*kfake.FaultHandle
	for _, passing := range []*kerr.Error{kerr.NotCoordinator, kerr.CoordinatorNotAvailable, kerr.CoordinatorLoadInProgress} {
		faults = append(faults, cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetFetch}, Topic: topic, Err: passing, Count: 1}))
	}
	startWorker(t, connect(t, cluster, logs.option), group).owning(t, 1)
	for _, f := range faults {
		require.Equal(t, 1, f.Hits())
	}
	require.Empty(t, logs.all)
}
