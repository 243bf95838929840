package app

import (
	"context"
	"errors"
	"fmt"

	"cohortsync/internal/config"
	"cohortsync/internal/stream/broker"
)

// group looks at the consumer group of a target. The commits are those on the
// topic, and can be asked for only when that is known.
func (c *check) group(ctx context.Context, b *broker.Broker, t config.Target, topicKnown bool) Finding {
	allow := fmt.Sprintf("allow Read and Describe on groups with the prefix %s.", c.cfg.Kafka.Group)
	name := c.cfg.Kafka.GroupOf(t)
	err := b.MayUseGroup(ctx, name)
	switch {
	case err == nil:
	case broker.Denied(err):
		return Finding{Level: Wrong, What: "this user may not read it", Do: allow}
	case errors.Is(err, broker.ErrUntold):
		return Finding{Level: Warning, What: "may be described; whether it may be read this broker does not tell", Do: allow}
	default:
		return Finding{Level: Wrong, What: c.said(err), Do: advertised}
	}
	if !topicKnown {
		return fine("may be read and described")
	}
	commits, err := b.Commits(ctx, name)
	switch {
	case err != nil:
		return Finding{Level: Wrong, What: "its offsets cannot be read: " + c.said(err), Do: advertised}
	case commits == 0:
		return fine("may be read and described; it has no commits and starts at %s", c.cfg.Kafka.StartFrom)
	default:
		return fine("may be read and described; it goes on where it has committed")
	}
}

// letters looks at the dead-letter topic or, where it is missing, whether it
// can be created.
func (c *check) letters(ctx context.Context, b *broker.Broker, topicKnown bool) {
	subject := c.lettersSubject()
	missing, known := false, false
	c.look(ctx, subject, func(ctx context.Context) Finding {
		t, err := b.Describe(ctx, c.cfg.Kafka.DeadLetterTopic)
		missing, known = broker.Missing(err), err == nil
		switch {
		case err == nil:
			return judgeLetters(t)
		case missing && !topicKnown:
			return skipped("it does not exist, and is created with as many partitions as the topic, which is not known")
		case missing:
			return c.create(ctx, b)
		case broker.Denied(err):
			return Finding{Level: Wrong, What: "this user may not describe it", Do: "allow Write and Describe on it, and Create unless it exists"}
		default:
			return Finding{Level: Wrong, What: c.said(err), Do: advertised}
		}
	})
	switch {
	case missing: // What can be said of it has been said.
	case !known:
		c.tell(ctx, subject, skipped("whether it may be written, for it cannot be described"))
	default:
		c.look(ctx, subject, func(ctx context.Context) Finding { return c.write(ctx, b) })
	}
}

func judgeLetters(t broker.Topic) Finding {
	if t.Leaderless > 0 {
		return leaderless(t)
	}
	f := fine("%s", shape(t))
	if broker.Compacted(t.Policy) {
		f.Level, f.Do = Warning, "compaction keeps one letter of a cohort: set its cleanup.policy to delete"
	}
	return f
}

func (c *check) create(ctx context.Context, b *broker.Broker) Finding {
	err := b.MayCreateDeadLetterTopic(ctx)
	var refused *broker.CannotCreateError
	switch {
	case err == nil:
		return fine("it does not exist, and a worker may create it; whether it may be written is to be seen only then")
	case errors.As(err, &refused):
		what := "it does not exist, and cannot be created: " + refused.Err.Error()
		if broker.Denied(err) {
			what = "it does not exist, and this user may not create it"
		}
		return Finding{Level: Wrong, What: what, Do: "allow Create on it, or create it with: " + refused.Command}
	default:
		return Finding{Level: Wrong, What: "it does not exist, and whether it can be created is not known: " + c.said(err), Do: advertised}
	}
}

func (c *check) write(ctx context.Context, b *broker.Broker) Finding {
	err := b.MayWriteLetters(ctx)
	switch {
	case err == nil:
		return fine("may be written")
	case broker.Denied(err):
		return Finding{Level: Wrong, What: "this user may not write to it", Do: "allow Write on it"}
	case errors.Is(err, broker.ErrUntold):
		return Finding{Level: Warning, What: "whether it may be written cannot be told without writing: " + c.said(err), Do: "see to it that Write is allowed on it"}
	default:
		return Finding{Level: Wrong, What: "cannot be written: " + c.said(err), Do: advertised}
	}
}

// strangers names the groups that belong to no target. Of none it says
// nothing, for the broker shows only those that this user may describe.
func (c *check) strangers(ctx context.Context, b *broker.Broker) {
	within, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	others, err := b.OtherGroups(within, c.cfg.Kafka.Group, groups(c.cfg))
	if err != nil {
		c.tell(ctx, "groups "+c.cfg.Kafka.Group+".*", Finding{
			Level: Warning, What: "whether some belong to no target is not known: " + c.said(err),
			Do: "allow Describe on the cluster, if that matters",
		})
	}
	for _, name := range others {
		c.tell(ctx, "group "+name, Finding{
			Level: Warning, What: "belongs to no target; a renamed target starts anew and leaves its old group behind",
			Do: "delete it once nobody needs its offsets",
		})
	}
}
