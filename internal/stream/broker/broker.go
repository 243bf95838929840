// Package broker is the Kafka side of the worker, on segmentio/kafka-go: it
// reads partitions, holds the place in a consumer group and writes dead
// letters, behind the ports of package stream.
//
// kafka-go v0.4.51 has traps, and most of what is here beyond plain wiring is
// a guard against one of them; each is told where its guard stands. What is
// said of kafka-go was read in its source and seen in this package's tests.
package broker

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"

	"cohortsync/internal/stream"
)

// Options says which Kafka to talk to, and how. Brokers, Topic,
// DeadLetterTopic and Logger are required; durations that are zero take the
// default that stands beside them.
type Options struct {
	Brokers         []string
	Topic           string
	DeadLetterTopic string
	// TLS is nil for plain connections. An empty ServerName means the name of
	// the broker that is dialled.
	TLS *tls.Config
	// SASL is nil for none.
	SASL     sasl.Mechanism
	ClientID string
	// SessionTimeout (30s) is how long the group waits for a heartbeat of a
	// member before it gives its partitions to others.
	SessionTimeout time.Duration
	// RebalanceTimeout (30s) is how long the group waits in a rebalance for
	// its members to come back, their drain included.
	RebalanceTimeout time.Duration
	// HeartbeatInterval (3s) is also how long a member takes, at most, to see
	// that a rebalance has begun.
	HeartbeatInterval time.Duration
	// DrainTimeout (20s) bounds the time that Membership.Run takes to leave.
	DrainTimeout time.Duration
	// NetworkTimeout (10s) bounds one request.
	NetworkTimeout time.Duration
	// WatchInterval (10s) is how often a member looks whether partitions were
	// added or the topic was deleted.
	WatchInterval time.Duration
	// PollWait (5s) is how long a fetch waits for records. It costs no latency,
	// and an idle partition costs one request in that time.
	PollWait time.Duration
	// JoinBackoff (1s) is the pause after a failed attempt to join or to find
	// the topic.
	JoinBackoff time.Duration
	// AllowCompacted reads a compacted topic all the same.
	AllowCompacted bool
	// ReadCommitted leaves out the records of transactions that were aborted, and
	// waits with those of transactions that have not ended.
	ReadCommitted bool
	Logger        *slog.Logger
}

// metadataTTL is how old the client's picture of the cluster may get. kafka-go
// answers Client.Metadata from it and does not refresh it after an error, so
// it also bounds how long a moved leader is missed. It is the time limit of
// the refresh, too, and so cannot be much shorter.
const metadataTTL = 2 * time.Second

// Broker is the connection to one Kafka cluster that all targets share. It is
// safe for use by several goroutines.
type Broker struct {
	opt       Options
	client    *kafka.Client
	transport *kafka.Transport
	// warnedOfAborts says that an aborted transaction has been told of.
	warnedOfAborts atomic.Bool
}

// New checks the options and does not touch the network. The caller closes
// the broker when nothing uses it any more.
func New(opt Options) (*Broker, error) {
	switch {
	case len(opt.Brokers) == 0:
		return nil, errors.New("connecting to Kafka: no brokers are given")
	case opt.Topic == "":
		return nil, errors.New("connecting to Kafka: no topic is given")
	case opt.DeadLetterTopic == "" || opt.DeadLetterTopic == opt.Topic:
		return nil, errors.New("connecting to Kafka: the dead-letter topic must be given and must not be the topic itself")
	case opt.Logger == nil:
		return nil, errors.New("connecting to Kafka: no logger is given")
	}
	opt.Brokers = slices.Clone(opt.Brokers)
	opt.ClientID = cmp.Or(opt.ClientID, "cohortsync")
	opt.SessionTimeout = cmp.Or(opt.SessionTimeout, 30*time.Second)
	opt.RebalanceTimeout = cmp.Or(opt.RebalanceTimeout, 30*time.Second)
	opt.HeartbeatInterval = cmp.Or(opt.HeartbeatInterval, 3*time.Second)
	opt.DrainTimeout = cmp.Or(opt.DrainTimeout, 20*time.Second)
	opt.NetworkTimeout = cmp.Or(opt.NetworkTimeout, 10*time.Second)
	opt.WatchInterval = cmp.Or(opt.WatchInterval, 10*time.Second)
	opt.PollWait = cmp.Or(opt.PollWait, 5*time.Second)
	opt.JoinBackoff = cmp.Or(opt.JoinBackoff, time.Second)

	b := &Broker{opt: opt}
	b.transport = &kafka.Transport{
		Dial:        b.dial,
		DialTimeout: opt.NetworkTimeout,
		MetadataTTL: metadataTTL,
		// Without the names kafka-go asks for every topic of the cluster.
		MetadataTopics: []string{opt.Topic, opt.DeadLetterTopic},
		ClientID:       opt.ClientID,
		SASL:           opt.SASL,
	}
	b.client = &kafka.Client{
		Addr:      kafka.TCP(opt.Brokers...),
		Timeout:   opt.NetworkTimeout,
		Transport: b.transport,
	}
	return b, nil
}

// Close closes the connections that no one uses, and the others as soon as
// they are not in use any more.
func (b *Broker) Close() error {
	b.transport.CloseIdleConnections()
	return nil
}

// Log reads the topic.
func (b *Broker) Log() stream.Log { return (*log)(b) }

// Letters writes to the dead-letter topic.
func (b *Broker) Letters() stream.Letters { return (*letters)(b) }

// dialer is for kafka-go's connections below its client. TLS is not set, for
// dial has seen to it.
func (b *Broker) dialer(dial dialFunc) *kafka.Dialer {
	return &kafka.Dialer{
		ClientID:      b.opt.ClientID,
		DialFunc:      dial,
		Timeout:       b.opt.NetworkTimeout,
		SASLMechanism: b.opt.SASL,
	}
}

// partitions returns the partitions of a topic as the cluster had them at most
// metadataTTL ago, by id. It never creates the topic: an error that wraps
// kafka.UnknownTopicOrPartition says that there is none.
func (b *Broker) partitions(ctx context.Context, topic string) ([]kafka.Partition, error) {
	answer, err := b.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return nil, fmt.Errorf("asking for the partitions of topic %q: %w", topic, err)
	}
	for _, t := range answer.Topics {
		if t.Name != topic {
			continue
		}
		if t.Error != nil {
			return nil, fmt.Errorf("asking for the partitions of topic %q: %w", topic, t.Error)
		}
		if len(t.Partitions) == 0 {
			break
		}
		slices.SortFunc(t.Partitions, func(x, y kafka.Partition) int { return cmp.Compare(x.ID, y.ID) })
		return t.Partitions, nil
	}
	return nil, fmt.Errorf("asking for the partitions of topic %q: %w", topic, kafka.UnknownTopicOrPartition)
}

// reached says that an error came from a broker: there is one, and it answers.
func reached(err error) bool {
	var answer kafka.Error
	return errors.As(err, &answer)
}
