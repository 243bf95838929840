package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
)

// What is in this file and in rights.go looks at Kafka as a worker is going to
// use it, and changes nothing. A running worker needs none of it.

// passingPause is how long a look waits before it asks again after an answer
// that passes by itself.
const passingPause = 200 * time.Millisecond

// ReachStage is how far a connection to a broker came.
type ReachStage uint8

// The stages, in their order: TCP, TLS, SASL, the first request.
const (
	Connecting ReachStage = iota
	Securing
	LoggingIn
	Asking
)

// String returns the stage as it stands in an error.
func (s ReachStage) String() string {
	switch s {
	case Connecting:
		return "connecting"
	case Securing:
		return "making the connection secure"
	case LoggingIn:
		return "logging in"
	case Asking:
		return "asking for the cluster's brokers"
	default:
		return "unknown"
	}
}

// ReachError says at which stage a broker could not be reached.
type ReachError struct {
	Stage ReachStage
	Err   error
}

func (e *ReachError) Error() string { return fmt.Sprintf("%s: %v", e.Stage, e.Err) }

func (e *ReachError) Unwrap() error { return e.Err }

// Reach connects to one broker, logs in, and asks it for the cluster's
// brokers: a port without a login, where one is asked for, fails only then.
// Its error is a *ReachError, about the end of ctx where that was the reason.
func (b *Broker) Reach(ctx context.Context, address string) error {
	stage, err := b.reach(ctx, address)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return &ReachError{stage, ctx.Err()}
	default:
		return &ReachError{stage, err}
	}
}

func (b *Broker) reach(ctx context.Context, address string) (stage ReachStage, err error) {
	var unreached error // Without what kafka-go says around it.
	conn, err := b.dialer(func(dialing context.Context, network, address string) (net.Conn, error) {
		raw, err := b.dial(dialing, network, address)
		if err != nil {
			stage, unreached = undialled(dialing, err)
			return nil, err
		}
		// kafka-go does not heed the end of ctx once it has the connection.
		context.AfterFunc(ctx, func() { _ = raw.Close() })
		stage = LoggingIn
		return raw, nil
	}).DialContext(ctx, "tcp", address)
	switch {
	case unreached != nil:
		return stage, unreached
	case cutOff(err):
		return stage, fmt.Errorf("the broker closed the connection, which may refuse the login or want TLS: %w", err)
	case err != nil:
		return stage, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(b.opt.NetworkTimeout)); err != nil {
		return Asking, err
	}
	_, err = conn.Brokers()
	return Asking, err
}

// undialled says why dial has failed, and at which stage.
func undialled(dialing context.Context, err error) (ReachStage, error) {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return Connecting, err
	}
	if dialing.Err() != nil {
		err = dialing.Err() // It is why the handshake broke.
	}
	return Securing, err
}

// cutOff says that the other side closed the connection.
func cutOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// Topic is a topic as the cluster describes it.
type Topic struct {
	Partitions int
	// Leaderless is how many of them nobody can read or write now.
	Leaderless int
	// Policy is the cleanup policy. Retention is how long a record stays, less
	// than nothing for ever. Both are unknown when ConfigErr is not nil.
	Policy    string
	Retention time.Duration
	ConfigErr error
}

// Describe returns what the cluster tells of a topic that this Broker was made
// for. See Missing and Denied for its errors.
func (b *Broker) Describe(ctx context.Context, topic string) (Topic, error) {
	var partitions []kafka.Partition
	err := settled(ctx, func() (err error) {
		partitions, err = b.partitions(ctx, topic)
		return err
	})
	if err != nil {
		return Topic{}, err
	}
	t := Topic{Partitions: len(partitions)}
	for _, p := range partitions {
		if p.Leader.Host == "" {
			t.Leaderless++
		}
	}
	t.Policy, t.Retention, t.ConfigErr = b.cleanup(ctx, topic)
	return t, nil
}

// cleanup returns a topic's cleanup policy and retention.
func (b *Broker) cleanup(ctx context.Context, topic string) (policy string, retention time.Duration, err error) {
	found, err := b.topicConfig(ctx, topic, cleanupPolicy, retentionTime)
	if err != nil {
		return "", 0, err
	}
	ms, err := strconv.ParseInt(found[retentionTime], 10, 64)
	if err != nil {
		return "", 0, fmt.Errorf("reading the retention of topic %q: %w", topic, err)
	}
	return found[cleanupPolicy], time.Duration(ms) * time.Millisecond, nil
}

// Compacted says that a cleanup policy compacts, whatever else it does.
func Compacted(policy string) bool { return strings.Contains(policy, "compact") }

// Missing says that an error is about a topic that does not exist.
func Missing(err error) bool { return errors.Is(err, kafka.UnknownTopicOrPartition) }

// Denied says that an error is about a right that this user lacks.
func Denied(err error) bool {
	return errors.Is(err, kafka.TopicAuthorizationFailed) ||
		errors.Is(err, kafka.GroupAuthorizationFailed) ||
		errors.Is(err, kafka.ClusterAuthorizationFailed)
}

// settled asks again while the answer is one that passes by itself, until ctx
// ends: a coordinator that the cluster has yet to name, a leader that moves.
// The last answer tells more than the end of the time, which may have cut the
// last question short.
func settled(ctx context.Context, ask func() error) error {
	var last error
	for {
		err := ask()
		switch {
		case err == nil:
			return nil
		case over(ctx) && last != nil && !reached(err):
			return last
		case over(ctx):
			return err
		case uncoordinated(err), errors.Is(err, kafka.NotController),
			errors.Is(err, kafka.LeaderNotAvailable), errors.Is(err, kafka.NotLeaderForPartition):
		default:
			return err
		}
		last = err
		pause(ctx, passingPause)
		if ctx.Err() != nil {
			return last
		}
	}
}

// uncoordinated says that an error is about a coordinator of the group that the
// cluster has yet to name, or that has yet to be ready.
func uncoordinated(err error) bool {
	return errors.Is(err, kafka.NotCoordinatorForGroup) ||
		errors.Is(err, kafka.GroupCoordinatorNotAvailable) ||
		errors.Is(err, kafka.GroupLoadInProgress)
}

// over says that ctx has ended or is just about to: a connection that has its
// deadline may be the first to tell.
func over(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || (ok && !time.Now().Before(deadline))
}
