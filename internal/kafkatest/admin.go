package kafkatest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// soon is how long a broker may take to do what it has promised.
const soon = 30 * time.Second

// Admin manages a broker's topics and groups and looks at them. It takes names
// as the test has them.
type Admin struct {
	named  interface{ Name(name string) string }
	client *kgo.Client
	kadm   *kadm.Client
}

func newAdmin(t *testing.T, named interface{ Name(name string) string }, opts []kgo.Opt) *Admin {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.MetadataMinAge(10 * time.Millisecond), kgo.RecordPartitioner(kgo.ManualPartitioner()),
	}, opts...)...)
	require.NoError(t, err)
	return &Admin{named: named, client: client, kadm: kadm.NewClient(client)}
}

// now is for looking at what is, past what kadm remembers of the topics: it
// remembers nothing of what a user may do.
func now(t *testing.T) context.Context { return kadm.WithAuthorizedOps(t.Context()) }

// CreateTopic creates a topic, with further configuration given as key, value,
// and waits until it can be written.
func (a *Admin) CreateTopic(t *testing.T, name string, partitions int32, configs ...string) {
	t.Helper()
	given := make(map[string]*string)
	for i := 0; i+1 < len(configs); i += 2 {
		given[configs[i]] = &configs[i+1]
	}
	_, err := a.kadm.CreateTopic(t.Context(), partitions, 1, given, a.named.Name(name))
	require.NoError(t, err)
	a.await(t, name, int(partitions))
}

// DeleteTopic deletes a topic and waits until it is gone.
func (a *Admin) DeleteTopic(t *testing.T, name string) {
	t.Helper()
	_, err := a.kadm.DeleteTopic(t.Context(), a.named.Name(name))
	require.NoError(t, err)
	a.await(t, name, 0)
}

// SetPartitions adds partitions to a topic until it has so many.
func (a *Admin) SetPartitions(t *testing.T, name string, partitions int) {
	t.Helper()
	answer, err := a.kadm.UpdatePartitions(t.Context(), partitions, a.named.Name(name))
	require.NoError(t, err)
	require.NoError(t, answer.Error())
	a.await(t, name, partitions)
}

// await waits until the broker, which does a little later what its controller
// has said, shows so many partitions and answers for them.
func (a *Admin) await(t *testing.T, name string, partitions int) {
	t.Helper()
	require.Eventually(t, func() bool {
		if a.Partitions(t, name) != partitions {
			return false
		}
		ends, err := a.kadm.ListEndOffsets(now(t), a.named.Name(name))
		return err == nil && (partitions == 0 || ends.Error() == nil)
	}, soon, 5*time.Millisecond)
}

// Partitions returns how many partitions with a leader a topic has: none when
// it does not exist.
func (a *Admin) Partitions(t *testing.T, name string) (n int) {
	t.Helper()
	name = a.named.Name(name)
	topics, err := a.kadm.ListTopics(now(t), name)
	require.NoError(t, err)
	if errors.Is(topics[name].Err, kerr.UnknownTopicOrPartition) {
		return 0
	}
	require.NoError(t, topics[name].Err)
	for _, p := range topics[name].Partitions {
		if p.Leader >= 0 {
			n++
		}
	}
	return n
}

// Config returns one entry of a topic's configuration.
func (a *Admin) Config(t *testing.T, name, key string) string {
	t.Helper()
	configs, err := a.kadm.DescribeTopicConfigs(t.Context(), a.named.Name(name))
	require.NoError(t, err)
	config, err := configs.On(a.named.Name(name), nil)
	require.NoError(t, err)
	for _, c := range config.Configs {
		if c.Key == key {
			return c.MaybeValue()
		}
	}
	return ""
}

// DeleteRecords deletes the records of a partition before an offset.
func (a *Admin) DeleteRecords(t *testing.T, name string, partition int32, before int64) {
	t.Helper()
	offsets := make(kadm.Offsets)
	offsets.AddOffset(a.named.Name(name), partition, before, -1)
	answer, err := a.kadm.DeleteRecords(t.Context(), offsets)
	require.NoError(t, err)
	require.NoError(t, answer.Error())
}

// Write writes a record to a topic.
func (a *Admin) Write(t *testing.T, name string, partition int32, value []byte) {
	t.Helper()
	record := &kgo.Record{Topic: a.named.Name(name), Partition: partition, Value: value}
	require.NoError(t, a.client.ProduceSync(t.Context(), record).FirstErr())
}

// Ends returns the high watermark of each partition of a topic, of none when it
// does not exist.
func (a *Admin) Ends(t *testing.T, name string) map[int32]int64 {
	t.Helper()
	listed, err := a.kadm.ListEndOffsets(now(t), a.named.Name(name))
	require.NoError(t, err)
	return a.ofTopic(t, listed, name)
}

// Starts returns the first offset of each partition of a topic.
func (a *Admin) Starts(t *testing.T, name string) map[int32]int64 {
	t.Helper()
	listed, err := a.kadm.ListStartOffsets(now(t), a.named.Name(name))
	require.NoError(t, err)
	return a.ofTopic(t, listed, name)
}

func (a *Admin) ofTopic(t *testing.T, listed kadm.ListedOffsets, name string) map[int32]int64 {
	t.Helper()
	offsets := make(map[int32]int64)
	for partition, o := range listed[a.named.Name(name)] {
		if !errors.Is(o.Err, kerr.UnknownTopicOrPartition) {
			require.NoError(t, o.Err)
			offsets[partition] = o.Offset
		}
	}
	return offsets
}

// Committed returns the offsets that a group has committed in a topic.
func (a *Admin) Committed(t *testing.T, group, topic string) map[int32]int64 {
	t.Helper()
	fetched, err := a.kadm.FetchOffsets(t.Context(), a.named.Name(group))
	if errors.Is(err, kerr.GroupIDNotFound) {
		return nil
	}
	require.NoError(t, err)
	offsets := make(map[int32]int64)
	for partition, o := range fetched[a.named.Name(topic)] {
		require.NoError(t, o.Err)
		offsets[partition] = o.At
	}
	return offsets
}

// Group returns a group, whose state is Dead when there is none.
func (a *Admin) Group(t *testing.T, name string) kadm.DescribedGroup {
	t.Helper()
	groups, err := a.kadm.DescribeGroups(t.Context(), a.named.Name(name))
	require.NoError(t, err)
	group, err := groups.On(a.named.Name(name), nil)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return kadm.DescribedGroup{State: "Dead"}
	}
	require.NoError(t, err)
	return group
}

// removeAll removes this test's topics and groups, as far as that goes: a group
// of a killed worker has a member for a while yet.
func (a *Admin) removeAll(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	ours := func(name string) bool { return strings.HasPrefix(name, a.named.Name("")) }
	var topics, groups []string
	found, err := a.kadm.ListTopics(ctx)
	for _, name := range found.Names() {
		if ours(name) {
			topics = append(topics, name)
		}
	}
	listed, listErr := a.kadm.ListGroups(ctx)
	for _, name := range listed.Groups() {
		if ours(name) {
			groups = append(groups, name)
		}
	}
	if len(topics) > 0 {
		_, topicsErr := a.kadm.DeleteTopics(ctx, topics...)
		err = errors.Join(err, topicsErr)
	}
	if len(groups) > 0 {
		_, groupsErr := a.kadm.DeleteGroups(ctx, groups...)
		err = errors.Join(err, groupsErr)
	}
	if err = errors.Join(err, listErr); err != nil {
		t.Logf("removing what the test has made: %v", err)
	}
}
