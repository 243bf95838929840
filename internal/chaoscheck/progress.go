package chaoscheck

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Behind returns which groups have not committed the end of the log, and how
// far they are.
func Behind(ctx context.Context, client *kgo.Client, topic string, targets []Target) ([]string, error) {
	e := &Evidence{Targets: targets}
	if err := e.readProgress(ctx, client, topic); err != nil {
		return nil, err
	}
	j := &judge{Evidence: *e}
	j.judgeEnds()
	var behind []string
	for _, d := range j.differences {
		behind = append(behind, d.What)
	}
	return behind, nil
}

func (e *Evidence) readProgress(ctx context.Context, client *kgo.Client, topic string) (err error) {
	if e.Ends, err = ends(ctx, client, topic); err != nil {
		return err
	}
	return e.readCommitted(ctx, client, topic)
}

func (e *Evidence) readCommitted(ctx context.Context, client *kgo.Client, topic string) error {
	e.Committed = make(map[Place]int64)
	for _, t := range e.Targets {
		ask := kmsg.NewPtrOffsetFetchRequest()
		ask.Group = t.Group
		group := kmsg.NewOffsetFetchRequestGroup()
		group.Group = t.Group
		of, ofGroup := kmsg.NewOffsetFetchRequestTopic(), kmsg.NewOffsetFetchRequestGroupTopic()
		of.Topic, ofGroup.Topic = topic, topic
		for partition := range e.Ends {
			of.Partitions, ofGroup.Partitions = append(of.Partitions, partition), append(ofGroup.Partitions, partition)
		}
		group.Topics = append(group.Topics, ofGroup)
		ask.Topics, ask.Groups = append(ask.Topics, of), append(ask.Groups, group)
		answer, err := ask.RequestWith(ctx, client)
		if err != nil {
			return fmt.Errorf("asking what %s has committed: %w", t.Group, err)
		}
		for _, one := range answer.Topics {
			for _, p := range one.Partitions {
				e.Committed[Place{t.Group, p.Partition}] = p.Offset
			}
		}
		for _, g := range answer.Groups {
			for _, one := range g.Topics {
				for _, p := range one.Partitions {
					e.Committed[Place{t.Group, p.Partition}] = p.Offset
				}
			}
		}
	}
	return nil
}
