package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"

	"cohortsync/internal/stream"
)

// repeatAfter is how often a trouble that lasts is logged again.
const repeatAfter = 5 * time.Minute

// CompactedTopicError refuses a topic that keeps only the newest record of a
// key: it is a log of changes no more.
type CompactedTopicError struct{ Topic, Policy string }

func (e *CompactedTopicError) Error() string {
	return fmt.Sprintf("topic %q is compacted (cleanup.policy=%s), which destroys a log of changes: "+
		"set its cleanup.policy to delete, or kafka.allow_compacted to true", e.Topic, e.Policy)
}

// Membership implements stream.Membership. Run is called once; Status may be
// called by several goroutines at any time.
type Membership struct {
	b      *Broker
	group  string
	logger *slog.Logger
	status status

	// counted is the number of partitions that the current assignment was made
	// for, as far as this member knows.
	counted atomic.Int64
	// looked says that the group's commits were seen once, and virgin that
	// there were none and this worker has made none since.
	looked bool
	virgin atomic.Bool
	// seen are the partitions that there were then.
	seen map[int]bool
	// told and toldAt are the last trouble logged, and when.
	told   string
	toldAt time.Time
	// awaiting is since when the group has had no coordinator, or zero.
	awaiting time.Time
}

// Membership returns this worker's place in the group.
func (b *Broker) Membership(group string) *Membership {
	return &Membership{b: b, group: group, logger: b.opt.Logger.With("group", group, "topic", b.opt.Topic)}
}

// Status says where the membership stands.
func (m *Membership) Status() Status { return m.status.get() }

// Run implements stream.Membership. It is in the group only while the topic
// exists: kafka-go, left to itself in a group without its topic, makes
// thousands of generations a second.
func (m *Membership) Run(ctx context.Context, serve func(ctx context.Context, gen stream.Generation)) error {
	defer m.status.enter(Left, nil)
	for ctx.Err() == nil {
		found, err := m.awaitTopic(ctx)
		if err != nil {
			return fmt.Errorf("joining group %q: %w", m.group, err)
		}
		if !found {
			break
		}
		if err := m.stay(ctx, serve); err != nil {
			return fmt.Errorf("joining group %q: %w", m.group, err)
		}
	}
	return nil
}

// awaitTopic waits for the topic and looks whether it is fit to be read. It
// returns false when ctx ends first.
func (m *Membership) awaitTopic(ctx context.Context) (bool, error) {
	for ctx.Err() == nil {
		err := m.inspect(ctx)
		var refused *CompactedTopicError
		switch {
		case err == nil:
			return true, nil
		case ctx.Err() != nil: // That is why it failed.
		case errors.As(err, &refused):
			return false, refused
		case errors.Is(err, kafka.UnknownTopicOrPartition):
			m.status.enter(WaitingForTopic, err)
			m.tell("waiting for the topic: create it, or set kafka.topic to one that exists; this worker never creates it", err)
		default:
			m.trouble(err)
		}
		pause(ctx, m.b.opt.JoinBackoff)
	}
	return false, nil
}

// inspect returns nil when the topic exists and may be read.
func (m *Membership) inspect(ctx context.Context) error {
	partitions, err := m.b.partitions(ctx, m.b.opt.Topic)
	if err != nil {
		return err
	}
	m.counted.Store(int64(len(partitions)))
	if err := m.refuseCompacted(ctx); err != nil {
		return err
	}
	return m.look(ctx)
}

// look notes, before this worker first joins, whether the group has any
// commit. In its first generation would be too late: another new member may
// have committed where its own partitions start by then, and these would look
// like new ones of an old group.
func (m *Membership) look(ctx context.Context) error {
	if m.looked {
		return nil
	}
	// A new cluster makes its topic of offsets when the first group asks for it,
	// and answers that there is no coordinator until then.
	asking, cancel := context.WithTimeout(ctx, m.b.opt.NetworkTimeout)
	defer cancel()
	var committed map[int]int64
	err := settled(asking, func() (err error) {
		committed, err = m.b.committed(asking, m.group)
		return err
	})
	if err != nil {
		return err
	}
	m.looked = true
	m.virgin.Store(true)
	m.seen = make(map[int]bool)
	for partition, offset := range committed {
		m.seen[partition] = true
		if offset >= 0 {
			m.virgin.Store(false)
		}
	}
	return nil
}

func (m *Membership) refuseCompacted(ctx context.Context) error {
	if m.b.opt.AllowCompacted {
		return nil
	}
	found, err := m.b.topicConfig(ctx, m.b.opt.Topic, cleanupPolicy)
	var answer kafka.Error
	switch {
	case errors.As(err, &answer) && !answer.Temporary():
		m.logger.Warn("cannot see whether the topic is compacted, which would lose changes; "+
			"allow this user to describe the topic's configuration, or check it", "error", err)
		return nil
	case err != nil:
		return err
	case Compacted(found[cleanupPolicy]):
		return &CompactedTopicError{Topic: m.b.opt.Topic, Policy: found[cleanupPolicy]}
	default:
		return nil
	}
}

// stay holds the place in the group until ctx ends or the topic is gone. Then
// it leaves, in DrainTimeout at most once serve has returned.
func (m *Membership) stay(ctx context.Context, serve func(context.Context, stream.Generation)) error {
	conns := newConnections(m.b.dial)
	group, err := kafka.NewConsumerGroup(m.config(conns))
	if err != nil {
		return err
	}
	m.status.enter(Joining, nil)
	present, topicGone := context.WithCancel(ctx)
	defer topicGone()
	for {
		gen, err := group.Next(present)
		if present.Err() != nil {
			if err == nil {
				// It came at the last moment. kafka-go ends it in Close.
				m.logger.Debug("leaving at the start of a generation")
			}
			break
		}
		if err != nil {
			m.trouble(err)
			continue
		}
		m.told, m.awaiting = "", time.Time{}
		gen.Start(func(ended context.Context) { m.generation(present, ended, gen, topicGone, serve) })
	}
	// A join that is under way lasts until all other members have come; what
	// ends it here is that its connection goes.
	cut := time.AfterFunc(m.b.opt.DrainTimeout, conns.cut)
	defer cut.Stop()
	if err := group.Close(); err != nil {
		return err
	}
	conns.cut()
	return nil
}

func (m *Membership) config(conns *connections) kafka.ConsumerGroupConfig {
	return kafka.ConsumerGroupConfig{
		ID:             m.group,
		Brokers:        m.b.opt.Brokers,
		Dialer:         m.b.dialer(conns.Dial),
		Topics:         []string{m.b.opt.Topic},
		GroupBalancers: []kafka.GroupBalancer{balancer{count: &m.counted}},
		// kafka-go's own watch takes a missing topic for a change of its
		// partitions, again and again.
		WatchPartitionChanges: false,
		HeartbeatInterval:     m.b.opt.HeartbeatInterval,
		SessionTimeout:        m.b.opt.SessionTimeout,
		RebalanceTimeout:      m.b.opt.RebalanceTimeout,
		JoinGroupBackoff:      m.b.opt.JoinBackoff,
		Timeout:               m.b.opt.NetworkTimeout,
	}
}

// trouble notes an error of the group. An answer of a broker, even a bad one,
// says that there is a broker.
func (m *Membership) trouble(err error) {
	if reached(err) {
		m.status.enter(Joining, err)
		if errors.Is(err, kafka.RebalanceInProgress) || m.awaitsCoordinator(err) {
			return // An ordinary step of joining.
		}
	} else {
		m.status.enter(NoBroker, err)
	}
	m.tell("cannot join the consumer group; trying again", err)
}

// awaitsCoordinator says that the cluster has yet to name who keeps the group, and
// has not taken longer over that than over any other request.
func (m *Membership) awaitsCoordinator(err error) bool {
	if !uncoordinated(err) {
		return false
	}
	if m.awaiting.IsZero() {
		m.awaiting = time.Now()
	}
	return time.Since(m.awaiting) < m.b.opt.NetworkTimeout
}

// tell logs a trouble once, and again when it changes or has lasted.
func (m *Membership) tell(message string, err error) {
	if m.told == message && time.Since(m.toldAt) < repeatAfter {
		return
	}
	m.told, m.toldAt = message, time.Now()
	err = lacking(err, "Read", m.b.opt.Topic, m.group)
	m.logger.Warn(message, "error", err) //nolint:sloglint // The callers' messages are constants.
}

// balancer spreads the partitions by range: as evenly as can be, for one
// topic, and each member's in one stretch, which people find easy to read. It
// keeps how many partitions this member, as the leader, has given out.
type balancer struct {
	kafka.RangeGroupBalancer
	count *atomic.Int64
}

func (b balancer) AssignGroups(members []kafka.GroupMember, partitions []kafka.Partition) kafka.GroupMemberAssignments {
	b.count.Store(int64(len(partitions)))
	// Brokers name them in any order.
	slices.SortFunc(partitions, func(x, y kafka.Partition) int { return cmp.Compare(x.ID, y.ID) })
	return b.RangeGroupBalancer.AssignGroups(members, partitions)
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
