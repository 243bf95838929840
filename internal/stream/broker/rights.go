package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/describegroups"
)

// ErrUntold says that the broker does not tell whether something is allowed,
// and that doing it would change something.
var ErrUntold = errors.New("this broker does not tell")

// lacking adds to an error about a right which one it is, for Kafka's answer
// names neither what was to be done nor what with.
func lacking(err error, operation, topic, group string) error {
	switch {
	case errors.Is(err, kafka.TopicAuthorizationFailed):
		return fmt.Errorf("%w; allow this user %s on topic %q", err, operation, topic)
	case errors.Is(err, kafka.GroupAuthorizationFailed):
		return fmt.Errorf("%w; allow this user Read on group %q", err, group)
	default:
		return err
	}
}

// MayRead asks every partition of the topic that has a leader for its offsets,
// and one of them for records. See Denied for its errors.
func (b *Broker) MayRead(ctx context.Context) error {
	return settled(ctx, func() error {
		ids, err := b.led(ctx, b.opt.Topic)
		if err != nil {
			return err
		}
		bounds, err := b.Log().Bounds(ctx, ids)
		if err != nil {
			return err
		}
		// At the end there is least to read.
		_, err = b.batchAt(ctx, ids[0], bounds[ids[0]].Next)
		if errors.Is(err, kafka.OffsetOutOfRange) {
			return nil // The log was cut in between. The right was there.
		}
		return err
	})
}

// led returns the partitions of a topic that have a leader, at least one.
func (b *Broker) led(ctx context.Context, topic string) ([]int, error) {
	partitions, err := b.partitions(ctx, topic)
	if err != nil {
		return nil, err
	}
	var ids []int
	for _, p := range partitions {
		if p.Leader.Host != "" {
			ids = append(ids, p.ID)
		}
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("looking for a partition of topic %q: %w", topic, kafka.LeaderNotAvailable)
	}
	return ids, nil
}

// MayUseGroup asks the group's coordinator what this user may do with it. It
// returns nil when that includes Read, which joining and committing need, and
// Describe; see Denied and ErrUntold for its errors.
//
// No request shows the right by its use: a join disturbs the group, a commit
// without offsets is answered alike whether it is allowed or not, and kafka-go
// v0.4.51 misreads the answer to a heartbeat (it takes the throttle time for
// the error code).
func (b *Broker) MayUseGroup(ctx context.Context, group string) error {
	var allowed int32
	err := settled(ctx, func() (err error) {
		allowed, err = b.allowedOn(ctx, group)
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("asking for the rights on group %q: %w", group, err)
	case allowed == 0, allowed == math.MinInt32: // Brokers before Kafka 2.3 answer so.
		return fmt.Errorf("asking for the rights on group %q: %w", group, ErrUntold)
	case allowed&(1<<kafka.ACLOperationTypeRead) == 0:
		return fmt.Errorf("reading group %q: %w", group, kafka.GroupAuthorizationFailed)
	default:
		return nil
	}
}

// allowedOn returns the operations that are allowed on a group, a bit each
// (https://cwiki.apache.org/confluence/display/KAFKA/KIP-430+-+Return+Authorized+Operations+in+Describe+Responses).
// The group need not exist, and is not created.
func (b *Broker) allowedOn(ctx context.Context, group string) (int32, error) {
	answer, err := b.transport.RoundTrip(ctx, b.client.Addr, &describegroups.Request{
		Groups: []string{group}, IncludeAuthorizedOperations: true,
	})
	if err != nil {
		return 0, err
	}
	for _, g := range answer.(*describegroups.Response).Groups {
		if g.GroupID != group {
			continue
		}
		if g.ErrorCode != 0 {
			return 0, kafka.Error(g.ErrorCode)
		}
		return g.AuthorizedOperations, nil
	}
	return 0, ErrUntold
}

// Commits returns in how many partitions of the topic the group has committed.
func (b *Broker) Commits(ctx context.Context, group string) (int, error) {
	n := 0
	err := settled(ctx, func() error {
		committed, err := b.committed(ctx, group)
		n = 0
		for _, offset := range committed {
			if offset >= 0 {
				n++
			}
		}
		return err
	})
	return n, err
}

// MayWriteLetters asks the leader of a partition of the dead-letter topic to
// write no records: it looks for the right first, and refuses what is empty
// then. See Denied and ErrUntold for its errors.
func (b *Broker) MayWriteLetters(ctx context.Context) error {
	err := settled(ctx, func() error {
		ids, err := b.led(ctx, b.opt.DeadLetterTopic)
		if err != nil {
			return err
		}
		answer, err := b.client.RawProduce(ctx, &kafka.RawProduceRequest{
			Topic:        b.opt.DeadLetterTopic,
			Partition:    ids[0],
			RequiredAcks: kafka.RequireAll,
			// A length of nothing, and nothing.
			RawRecords: protocol.RawRecordSet{Reader: bytes.NewReader(make([]byte, 4))},
		})
		if err != nil {
			return err
		}
		return answer.Error
	})
	switch {
	case err == nil, errors.Is(err, kafka.InvalidRecord), errors.Is(err, kafka.InvalidMessage):
		return nil
	case Denied(err):
		return fmt.Errorf("writing nothing to topic %q: %w", b.opt.DeadLetterTopic, err)
	case reached(err), cutOff(err): // Old brokers cut the connection over it.
		return fmt.Errorf("writing nothing to topic %q: %w: %w", b.opt.DeadLetterTopic, ErrUntold, err)
	default:
		return fmt.Errorf("writing nothing to topic %q: %w", b.opt.DeadLetterTopic, err)
	}
}

// MayCreateDeadLetterTopic asks the broker whether it would create the topic
// as EnsureDeadLetterTopic does, and has the same errors. It creates nothing.
//
// kafka-go waits after a yes until its metadata has the topic. It does at
// once: our transport asks for this topic by its name, and the answer has it
// whether it exists or not.
func (b *Broker) MayCreateDeadLetterTopic(ctx context.Context) error {
	return settled(ctx, func() error { return b.createDeadLetterTopic(ctx, true) })
}
