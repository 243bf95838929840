package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
)

// The configuration of a topic that matters here
// (https://kafka.apache.org/documentation/#topicconfigs). A cleanup policy is
// such as "delete" or "compact,delete".
const (
	cleanupPolicy = "cleanup.policy"
	retentionTime = "retention.ms"
)

// letterRetention is how long the dead-letter topic keeps a letter, when it is
// this worker that creates the topic.
const letterRetention = 14 * 24 * time.Hour

// CannotCreateError says that this worker may not create the dead-letter
// topic, and what to do instead. Waiting does not mend it.
type CannotCreateError struct {
	Topic string
	// Command creates the topic.
	Command string
	Err     error
}

func (e *CannotCreateError) Error() string {
	return fmt.Sprintf("creating the dead-letter topic %q: %v; create it with: %s", e.Topic, e.Err, e.Command)
}

func (e *CannotCreateError) Unwrap() error { return e.Err }

// EnsureDeadLetterTopic creates the dead-letter topic when it is missing. It
// returns a *CannotCreateError when the broker will not have it; any other
// error, such as a source topic that does not exist yet, may pass: the caller
// tries again.
func (b *Broker) EnsureDeadLetterTopic(ctx context.Context) error {
	_, err := b.partitions(ctx, b.opt.DeadLetterTopic)
	if err == nil || !Missing(err) {
		return err
	}
	return b.createDeadLetterTopic(ctx, false)
}

// createDeadLetterTopic creates the topic, or only asks the broker whether it
// would: all brokers since Kafka 0.10.2 know the difference, and the worker
// needs Kafka 0.11 to read.
func (b *Broker) createDeadLetterTopic(ctx context.Context, validateOnly bool) error {
	source, err := b.partitions(ctx, b.opt.Topic)
	if err != nil {
		return fmt.Errorf("creating the dead-letter topic as its source: %w", err)
	}
	retention := strconv.FormatInt(letterRetention.Milliseconds(), 10)
	answer, err := b.client.CreateTopics(ctx, &kafka.CreateTopicsRequest{ValidateOnly: validateOnly, Topics: []kafka.TopicConfig{{
		Topic:             b.opt.DeadLetterTopic,
		NumPartitions:     len(source),
		ReplicationFactor: -1, // The broker's default.
		ConfigEntries: []kafka.ConfigEntry{
			{ConfigName: cleanupPolicy, ConfigValue: "delete"},
			{ConfigName: retentionTime, ConfigValue: retention},
		},
	}}})
	if err == nil {
		err = answer.Errors[b.opt.DeadLetterTopic]
	}
	var refused kafka.Error
	switch {
	case err == nil, errors.Is(err, kafka.TopicAlreadyExists):
		return nil
	case errors.As(err, &refused) && !refused.Temporary():
		return &CannotCreateError{
			Topic: b.opt.DeadLetterTopic,
			Command: fmt.Sprintf("kafka-topics.sh --bootstrap-server %s --create --topic %s --partitions %d "+
				"--config cleanup.policy=delete --config retention.ms=%s",
				strings.Join(b.opt.Brokers, ","), b.opt.DeadLetterTopic, len(source), retention),
			Err: err,
		}
	default:
		return fmt.Errorf("creating the dead-letter topic %q: %w", b.opt.DeadLetterTopic, err)
	}
}

// topicConfig returns the named entries of the topic's configuration, all of
// them or an error.
func (b *Broker) topicConfig(ctx context.Context, topic string, names ...string) (map[string]string, error) {
	answer, err := b.client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{
		{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, ConfigNames: names},
	}})
	if err != nil {
		return nil, fmt.Errorf("asking for the configuration of topic %q: %w", topic, err)
	}
	found := make(map[string]string, len(names))
	for _, resource := range answer.Resources {
		if resource.Error != nil {
			return nil, fmt.Errorf("asking for the configuration of topic %q: %w", topic, resource.Error)
		}
		for _, entry := range resource.ConfigEntries {
			found[entry.ConfigName] = entry.ConfigValue
		}
	}
	for _, name := range names {
		if _, ok := found[name]; !ok {
			return nil, fmt.Errorf("asking for the configuration of topic %q: %w", topic, kafka.UnsupportedVersion)
		}
	}
	return found, nil
}

// committed returns the group's committed offset of every partition of the
// topic, -1 where there is none.
func (b *Broker) committed(ctx context.Context, group string) (map[int]int64, error) {
	partitions, err := b.partitions(ctx, b.opt.Topic)
	if err != nil {
		return nil, err
	}
	ids := make([]int, len(partitions))
	for i, p := range partitions {
		ids[i] = p.ID
	}
	answer, err := b.client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{b.opt.Topic: ids}})
	if err == nil {
		err = answer.Error
	}
	offsets := make(map[int]int64, len(ids))
	if errors.Is(err, kafka.GroupIdNotFound) {
		// Some brokers say so of a group that nobody has joined yet.
		for _, id := range ids {
			offsets[id] = -1
		}
		return offsets, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the committed offsets: %w", err)
	}
	for _, p := range answer.Topics[b.opt.Topic] {
		switch {
		case errors.Is(p.Error, kafka.GroupIdNotFound):
			offsets[p.Partition] = -1
		case p.Error != nil:
			return nil, fmt.Errorf("reading the committed offset of partition %d: %w", p.Partition, p.Error)
		default:
			offsets[p.Partition] = p.CommittedOffset
		}
	}
	for _, id := range ids {
		if _, ok := offsets[id]; !ok {
			return nil, fmt.Errorf("reading the committed offset of partition %d: the answer does not name it", id)
		}
	}
	return offsets, nil
}

// OtherGroups returns, sorted, the cluster's groups named prefix.* that are not
// known, for a warning at start: a target that was renamed or removed leaves
// its group behind.
func (b *Broker) OtherGroups(ctx context.Context, prefix string, known []string) ([]string, error) {
	answer, err := b.client.ListGroups(ctx, &kafka.ListGroupsRequest{})
	if err == nil {
		err = answer.Error
	}
	if err != nil {
		return nil, fmt.Errorf("listing the consumer groups: %w", err)
	}
	var others []string
	for _, g := range answer.Groups {
		if strings.HasPrefix(g.GroupID, prefix+".") && !slices.Contains(known, g.GroupID) {
			others = append(others, g.GroupID)
		}
	}
	slices.Sort(others)
	return others, nil
}
