package chaoscheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// headerPrefix begins the headers of a dead letter that are the worker's.
const headerPrefix = "__cohortsync.errors."

// ReadKafka reads the topic, the dead letters, what is committed and, where the
// broker keeps it, the log of the groups.
func (e *Evidence) ReadKafka(ctx context.Context, broker, topic, deadLetters string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(broker))
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	defer client.Close()
	if err := e.readProgress(ctx, client, topic); err != nil {
		return err
	}
	err = read(ctx, broker, topic, e.Ends, func(r *kgo.Record) error {
		e.Log = append(e.Log, Record{r.Partition, r.Offset, r.Timestamp, r.Value})
		return nil
	})
	if err != nil {
		return err
	}
	if err := e.readAll(ctx, client, broker, deadLetters, e.letter); err != nil {
		return err
	}
	owners := newOwnersReader(e.Targets, topic)
	switch err := e.readAll(ctx, client, broker, groupsTopic, owners.record); {
	case errors.Is(err, errNoTopic):
		return nil // The embedded broker keeps its groups elsewhere.
	case err != nil:
		return err
	}
	e.Owners = owners.places
	return nil
}

func (e *Evidence) readAll(ctx context.Context, client *kgo.Client, broker, topic string, each func(*kgo.Record) error) error {
	until, err := ends(ctx, client, topic)
	if err != nil {
		return err
	}
	return read(ctx, broker, topic, until, each)
}

var errNoTopic = errors.New("there is no such topic")

// ends returns where each partition of a topic ends.
func ends(ctx context.Context, client *kgo.Client, topic string) (map[int32]int64, error) {
	ask := kmsg.NewPtrMetadataRequest()
	about := kmsg.NewMetadataRequestTopic()
	about.Topic = new(topic)
	ask.Topics = append(ask.Topics, about)
	metadata, err := ask.RequestWith(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("asking for the partitions of %s: %w", topic, err)
	}
	if len(metadata.Topics) != 1 || metadata.Topics[0].ErrorCode != 0 {
		return nil, fmt.Errorf("asking for the partitions of %s: %w", topic, errNoTopic)
	}
	list := kmsg.NewPtrListOffsetsRequest()
	of := kmsg.NewListOffsetsRequestTopic()
	of.Topic = topic
	for _, p := range metadata.Topics[0].Partitions {
		partition := kmsg.NewListOffsetsRequestTopicPartition()
		partition.Partition, partition.Timestamp = p.Partition, -1
		of.Partitions = append(of.Partitions, partition)
	}
	list.Topics = append(list.Topics, of)
	answer, err := list.RequestWith(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("asking for the ends of %s: %w", topic, err)
	}
	all := make(map[int32]int64)
	for _, t := range answer.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				return nil, fmt.Errorf("asking for the end of %s/%d: error %d", topic, p.Partition, p.ErrorCode)
			}
			all[p.Partition] = p.Offset
		}
	}
	return all, nil
}

// read reads a topic from its start to where it ended.
func read(ctx context.Context, broker, topic string, until map[int32]int64, each func(*kgo.Record) error) error {
	start, left := make(map[int32]kgo.Offset), make(map[int32]int64)
	for partition, end := range until {
		if end > 0 {
			start[partition], left[partition] = kgo.NewOffset().AtStart(), end
		}
	}
	if len(left) == 0 {
		return nil
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: start}), kgo.KeepControlRecords())
	if err != nil {
		return fmt.Errorf("reading %s: %w", topic, err)
	}
	defer client.Close()
	for len(left) > 0 {
		fetched := client.PollFetches(ctx)
		if err := fetched.Err0(); err != nil {
			return fmt.Errorf("reading %s: %w", topic, err)
		}
		for _, r := range fetched.Records() {
			if r.Offset >= left[r.Partition]-1 {
				delete(left, r.Partition)
			}
			if r.Offset >= until[r.Partition] || r.Attrs.IsControl() {
				continue
			}
			if err := each(r); err != nil {
				return fmt.Errorf("reading %s/%d, offset %d: %w", topic, r.Partition, r.Offset, err)
			}
		}
	}
	return nil
}

// letter reads a record of the dead-letter topic.
func (e *Evidence) letter(r *kgo.Record) error {
	l := Letter{Written: r.Timestamp, Text: string(r.Value)}
	var wrong error
	for _, h := range r.Headers {
		l.Text += "\n" + h.Key + ": " + string(h.Value)
		name, ours := strings.CutPrefix(h.Key, headerPrefix)
		if !ours {
			continue
		}
		value, err := string(h.Value), error(nil)
		switch name {
		case "target":
			l.Target = value
		case "stage":
			l.Stage = value
		case "partition":
			var n int64
			n, err = strconv.ParseInt(value, 10, 32)
			l.Partition = int32(n)
		case "offset":
			l.Offset, err = strconv.ParseInt(value, 10, 64)
		case "identifiers":
			err = json.Unmarshal(h.Value, &l.Identifiers)
		}
		wrong = errors.Join(wrong, err)
	}
	e.Letters = append(e.Letters, l)
	return wrong
}
