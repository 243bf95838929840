package app

import (
	"context"
	"errors"
	"time"

	"cohortsync/internal/config"
	"cohortsync/internal/stream/broker"
)

// prepare does, beside the targets, what has to be done once Kafka can be
// reached: it creates the dead-letter topic where it is missing, and names the
// groups that a renamed target has left behind. Until the topic is there, a
// feed with a dead letter waits for it.
func (a *App) prepare(ctx context.Context) error {
	if err := a.ensureDeadLetterTopic(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	others, err := a.broker.OtherGroups(ctx, a.cfg.Kafka.Group, groups(a.cfg))
	if err != nil {
		if ctx.Err() == nil {
			a.log.Warn("cannot look for consumer groups of targets that are gone", "error", err)
		}
		return nil
	}
	for _, group := range others {
		a.log.Warn("a consumer group belongs to no target; a renamed target is a new one, which starts anew and leaves its old group behind",
			"group", group)
	}
	return nil
}

// groups are the consumer groups of all targets.
func groups(cfg *config.Config) []string {
	all := make([]string, len(cfg.Targets))
	for i, t := range cfg.Targets {
		all[i] = cfg.Kafka.GroupOf(t)
	}
	return all
}

// ensureDeadLetterTopic tries until the topic is there. It returns an error
// only when the broker refuses to create it.
func (a *App) ensureDeadLetterTopic(ctx context.Context) error {
	retry := a.newBackOff()
	for ctx.Err() == nil {
		err := a.broker.EnsureDeadLetterTopic(ctx)
		var refused *broker.CannotCreateError
		if err == nil || errors.As(err, &refused) {
			return err
		}
		a.log.Debug("the dead-letter topic cannot be created yet", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(retry.NextBackOff()):
		}
	}
	return nil
}
