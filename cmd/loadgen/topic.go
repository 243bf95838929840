package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
)

// The client's times. A request that gets no answer for so long is sent again.
// kafka-go does not look again for a leader that moved until metadataTTL has
// passed; it is the time limit of that look as well.
const (
	requestTimeout = 10 * time.Second
	metadataTTL    = 2 * time.Second
)

// cluster is the connection to Kafka, for one topic.
type cluster struct {
	client    *kafka.Client
	transport *kafka.Transport
	brokers   []string
	topic     string
}

// connect does not touch the network. The caller closes the cluster.
func connect(brokers []string, topic string) *cluster {
	t := &kafka.Transport{
		DialTimeout: requestTimeout, MetadataTTL: metadataTTL, MetadataTopics: []string{topic}, ClientID: "cohortsync-loadgen",
	}
	return &cluster{
		client:    &kafka.Client{Addr: kafka.TCP(brokers...), Timeout: requestTimeout, Transport: t},
		transport: t, brokers: brokers, topic: topic,
	}
}

func (c *cluster) close() { c.transport.CloseIdleConnections() }

// partitions returns the ids of the topic's partitions, in order. It never
// creates the topic.
func (c *cluster) partitions(ctx context.Context) ([]int, error) {
	answer, err := c.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{c.topic}})
	if err != nil {
		return nil, fmt.Errorf("asking %s for topic %q: %w; is this where Kafka listens, without TLS and SASL?", strings.Join(c.brokers, ","), c.topic, err)
	}
	var ids []int
	for _, t := range answer.Topics {
		if t.Name == c.topic && t.Error != nil {
			return nil, fmt.Errorf("asking for the partitions of topic %q: %w", c.topic, t.Error)
		}
		for _, p := range t.Partitions {
			ids = append(ids, p.ID)
		}
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("asking for the partitions of topic %q: %w", c.topic, kafka.UnknownTopicOrPartition)
	}
	slices.Sort(ids)
	return ids, nil
}

// create creates the topic. One that is there already is left as it is.
func (c *cluster) create(ctx context.Context, partitions, replicas int) error {
	answer, err := c.client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{
		Topic: c.topic, NumPartitions: partitions, ReplicationFactor: replicas,
		// The topic is a log of changes, which compaction would destroy.
		ConfigEntries: []kafka.ConfigEntry{{ConfigName: "cleanup.policy", ConfigValue: "delete"}},
	}}})
	if err == nil {
		err = answer.Errors[c.topic]
	}
	if err != nil && !errors.Is(err, kafka.TopicAlreadyExists) {
		return fmt.Errorf("creating topic %q: %w", c.topic, err)
	}
	return nil
}

// ready returns the topic's partitions, and creates the topic before if it is
// missing and may be created.
func (c *cluster) ready(ctx context.Context, f kafkaFlags) ([]int, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*requestTimeout)
	defer cancel()
	ids, err := c.partitions(ctx)
	if !errors.Is(err, kafka.UnknownTopicOrPartition) {
		return ids, err
	}
	if !f.Create {
		return nil, fmt.Errorf("%w; --create creates it", err)
	}
	if err := c.create(ctx, f.Partitions, f.Replicas); err != nil {
		return nil, err
	}
	return c.appear(ctx)
}

// appear waits for a topic that was created: Kafka's controller says yes a
// moment before its brokers know.
func (c *cluster) appear(ctx context.Context) ([]int, error) {
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		ids, err := c.partitions(ctx)
		if !errors.Is(err, kafka.UnknownTopicOrPartition) {
			return ids, err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}
