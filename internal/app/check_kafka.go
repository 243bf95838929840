package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cohortsync/internal/config"
	"cohortsync/internal/stream/broker"
)

// advertised is what to do when the brokers of the configuration can be
// reached and those that the cluster names cannot.
const advertised = "check that the addresses which the brokers advertise can be reached from here"

// kafka looks at the brokers, the topic, the groups and the dead-letter topic.
func (c *check) kafka(ctx context.Context) {
	options, err := brokerOptions(c.cfg, c.deps)
	if err != nil {
		c.tell(ctx, "kafka", Finding{Level: Wrong, What: err.Error(), Do: "correct kafka.tls or kafka.sasl"})
		c.skipKafka(ctx, "the connection could not be prepared")
		return
	}
	options.NetworkTimeout = c.patience
	// Further on only those are asked that were reached: kafka-go waits for
	// one that is silent before it tries another.
	options.Brokers, err = c.brokers(ctx, options)
	if err != nil || len(options.Brokers) == 0 {
		c.skipKafka(ctx, "no broker was reached")
		return
	}
	b, err := broker.New(options)
	if err != nil {
		c.tell(ctx, "kafka", Finding{Level: Wrong, What: err.Error()})
		return
	}
	defer func() { _ = b.Close() }()
	known := c.topic(ctx, b)
	for _, t := range c.cfg.Targets {
		c.look(ctx, c.groupOf(t), func(ctx context.Context) Finding { return c.group(ctx, b, t, known) })
	}
	c.letters(ctx, b, known)
	c.strangers(ctx, b)
}

func (c *check) topicSubject() string   { return "topic " + c.cfg.Kafka.Topic }
func (c *check) lettersSubject() string { return "dead-letter topic " + c.cfg.Kafka.DeadLetterTopic }

func (c *check) groupOf(t config.Target) string {
	return "group " + c.cfg.Kafka.GroupOf(t)
}

// skipKafka tells of all that needs a broker.
func (c *check) skipKafka(ctx context.Context, why string) {
	c.tell(ctx, c.topicSubject(), skipped(why))
	for _, t := range c.cfg.Targets {
		c.tell(ctx, c.groupOf(t), skipped(why))
	}
	c.tell(ctx, c.lettersSubject(), skipped(why))
}

// brokers tries each broker of the configuration and returns those reached.
func (c *check) brokers(ctx context.Context, options broker.Options) ([]string, error) {
	b, err := broker.New(options)
	if err != nil {
		return nil, err
	}
	defer func() { _ = b.Close() }()
	var reached []string
	for _, address := range options.Brokers {
		level := c.look(ctx, "broker "+address, func(ctx context.Context) Finding { return c.reach(ctx, b, address) })
		if level == OK {
			reached = append(reached, address)
		}
	}
	return reached, nil
}

func (c *check) reach(ctx context.Context, b *broker.Broker, address string) Finding {
	k := c.cfg.Kafka
	err := b.Reach(ctx, address)
	if err == nil {
		how := ""
		if k.TLS.Enabled {
			how += " over TLS"
		}
		if k.SASL.Mechanism != config.SASLNone {
			how += ", logged in with " + string(k.SASL.Mechanism)
		}
		return fine("reached%s", how)
	}
	stage := broker.Connecting
	if failed, ok := errors.AsType[*broker.ReachError](err); ok {
		stage, err = failed.Stage, failed.Err
	}
	f := Finding{Level: Wrong, What: fmt.Sprintf("%s: %s", stage, c.said(err))}
	switch stage {
	case broker.Connecting:
		f.Do = "check kafka.brokers, and what is between: name servers, firewalls"
	case broker.Securing:
		f.Do = "check kafka.tls: whether this port wants TLS at all, ca_file, cert_file and key_file"
	case broker.LoggingIn:
		f.Do = "check kafka.sasl: mechanism, username and password"
	case broker.Asking:
		f.Do = "check whether this port is Kafka's, and wants a login (kafka.sasl) or TLS (kafka.tls)"
	}
	return f
}

// topic looks at the topic of changes; it returns whether it is there.
func (c *check) topic(ctx context.Context, b *broker.Broker) bool {
	subject := c.topicSubject()
	known := false
	c.look(ctx, subject, func(ctx context.Context) Finding {
		t, err := b.Describe(ctx, c.cfg.Kafka.Topic)
		known = err == nil
		switch {
		case err == nil:
			return c.judgeTopic(t)
		case broker.Missing(err):
			return Finding{Level: Wrong, What: "it does not exist", Do: "create it or set kafka.topic"}
		case broker.Denied(err):
			return Finding{Level: Wrong, What: "this user may not describe it", Do: "allow Read and Describe on it, or correct kafka.topic"}
		default:
			return Finding{Level: Wrong, What: c.said(err), Do: advertised}
		}
	})
	if !known {
		c.tell(ctx, subject, skipped("whether it may be read, for it cannot be described"))
		return false
	}
	c.look(ctx, subject, func(ctx context.Context) Finding {
		err := b.MayRead(ctx)
		switch {
		case err == nil:
			return fine("may be read")
		case broker.Denied(err):
			return Finding{Level: Wrong, What: "this user may not read it", Do: "allow Read on it"}
		default:
			return Finding{Level: Wrong, What: "cannot be read: " + c.said(err), Do: advertised}
		}
	})
	return true
}

func (c *check) judgeTopic(t broker.Topic) Finding {
	f := fine("%s", shape(t))
	switch {
	case t.Leaderless > 0:
		return leaderless(t)
	case broker.Denied(t.ConfigErr):
		f.Level, f.Do = Warning, "allow DescribeConfigs on it: without it a compacted topic goes unnoticed"
	case t.ConfigErr != nil:
		f.Level, f.Do = Warning, "see to it that the topic is not compacted"
	case broker.Compacted(t.Policy) && c.cfg.Kafka.AllowCompacted:
		f.Level, f.Do = Warning, "compaction loses changes; kafka.allow_compacted allows it"
	case broker.Compacted(t.Policy):
		f.Level, f.Do = Wrong, "compaction destroys a log of changes: set its cleanup.policy to delete, or kafka.allow_compacted to true"
	}
	return f
}

// shape is what there is to know of a topic.
func shape(t broker.Topic) string {
	partitions := fmt.Sprintf("%d partitions", t.Partitions)
	if t.Partitions == 1 {
		partitions = "1 partition"
	}
	switch {
	case broker.Denied(t.ConfigErr):
		return partitions + ", its configuration is not for this user to see"
	case t.ConfigErr != nil:
		return fmt.Sprintf("%s, its configuration is not known: %v", partitions, t.ConfigErr)
	default:
		return fmt.Sprintf("%s, cleanup.policy=%s, %s", partitions, t.Policy, retention(t.Retention))
	}
}

func retention(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 0:
		return "retention without end"
	case d == day:
		return "retention 1 day"
	case d%day == 0:
		return fmt.Sprintf("retention %d days", d/day)
	default:
		return "retention " + d.String()
	}
}

func leaderless(t broker.Topic) Finding {
	return Finding{Level: Wrong, What: fmt.Sprintf("%s, of which %d without a leader", shape(t), t.Leaderless), Do: "see to the brokers"}
}
