package broker

import (
	"context"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cohortsync/internal/stream"
)

// A standby that started with the group owns nothing and commits nothing, so the
// group is new to it for ever; a partition that is added later is not.
func TestAPartitionAddedSinceTheFirstLookIsNew(t *testing.T) {
	t.Parallel()
	g := &generation{
		m:   &Membership{b: &Broker{opt: Options{Topic: topic}}, seen: map[int]bool{0: true}},
		gen: &kafka.Generation{Assignments: map[string][]kafka.PartitionAssignment{topic: {{ID: 1}, {ID: 0}}}},
	}
	require.NoError(t, g.assign(map[int]int64{0: 5, 1: -1}))
	require.Equal(t, []stream.Assignment{{Partition: 0, Committed: 5}, {Partition: 1, Committed: -1, New: true}}, g.owned)
}

// The topic is made anew, with fewer partitions, between the assignment and the
// look at the offsets.
func TestAnAssignmentOfAPartitionThatIsGoneIsGivenUp(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "faults in its answers", 4)
	b := connect(t, cluster)
	w := startWorker(t, b, group)
	first := w.owning(t, 4)
	// Our look at the offsets, in the generation to come, fails for a while.
	// (kafka-go's own comes first, at version 1.)
	looks := make(chan struct{}, 100)
	fault := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetFetch}, Topic: topic, Err: kerr.CoordinatorLoadInProgress, Count: -1, When: func(r kmsg.Request) bool {
		if r.GetVersion() <= 1 {
			return false
		}
		select {
		case looks <- struct{}{}:
		default:
		}
		return true
	}})
	close(first.release)
	receive(t, looks)
	require.NoError(t, cluster.DeleteTopic(topic))
	require.NoError(t, cluster.CreateTopic(topic, 2, nil))
	require.Eventually(t, func() bool {
		partitions, err := b.partitions(t.Context(), topic)
		return err == nil && len(partitions) == 2
	}, inTime, often, "the client's picture of the cluster is new")
	fault.Remove()
	select {
	case s := <-w.generations:
		_, total := s.Assigned()
		require.Equal(t, 2, total)
	case <-time.After(inTime):
		t.Errorf("nothing is served: %+v", w.Status())
	}
}

// kafka-go reads without a deadline in the login.
func TestAFetchThatHangsInTheLoginEndsWithItsContext(t *testing.T) {
	t.Parallel()
	cluster := startEmbedded(t, "a request that it holds back", 1, kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", "secret"))
	mechanism, err := SASLMechanism("plain", "user", "secret")
	require.NoError(t, err)
	b := connect(t, cluster, func(o *Options) { o.SASL, o.NetworkTimeout = mechanism, 2*time.Second })
	_, err = b.leader(t.Context(), 0) // The client has a picture of the cluster.
	require.NoError(t, err)
	held, letGo := holdNext(t, cluster, kmsg.SASLHandshake)
	ctx, cancel := context.WithCancel(t.Context())
	cursor := b.Log().Open(0)
	done := make(chan error, 1)
	go func() {
		_, err := cursor.Fetch(ctx, 0, 1<<20)
		done <- err
	}()
	receive(t, held)
	cancel() // The generation ends.
	select {
	case err := <-done:
		require.ErrorIs(t, err, context.Canceled)
	case <-time.After(inTime):
		t.Error("Fetch has not returned although its context has ended")
		letGo()
		<-done
	}
}
