package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"

	"cohortsync/internal/stream"
)

// letters implements stream.Letters. It does not use kafka-go's Writer, whose
// zero value asks for no acknowledgement and loses what the broker refuses.
type letters Broker

func (l *letters) Write(ctx context.Context, letter stream.Letter) error {
	b := (*Broker)(l)
	partitions, err := b.partitions(ctx, b.opt.DeadLetterTopic)
	if err != nil {
		return fmt.Errorf("writing a dead letter: %w", lacking(err, "Write", b.opt.DeadLetterTopic, ""))
	}
	record := kafka.Record{Time: time.Now(), Headers: make([]kafka.Header, len(letter.Headers))}
	if letter.Key != nil {
		record.Key = kafka.NewBytes(letter.Key)
	}
	if letter.Value != nil {
		record.Value = kafka.NewBytes(letter.Value)
	}
	for i, h := range letter.Headers {
		record.Headers[i] = kafka.Header{Key: h.Key, Value: h.Value}
	}
	answer, err := b.client.Produce(ctx, &kafka.ProduceRequest{
		Topic:        b.opt.DeadLetterTopic,
		Partition:    partitions[letter.Partition%len(partitions)].ID,
		RequiredAcks: kafka.RequireAll,
		Records:      kafka.NewRecordReader(record),
	})
	if err == nil {
		err = refusal(answer)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kafka.MessageSizeTooLarge), errors.Is(err, kafka.RecordListTooLarge):
		return fmt.Errorf("writing a dead letter: %w: %w", stream.ErrLetterTooLarge, err)
	default:
		return fmt.Errorf("writing a dead letter: %w", lacking(err, "Write", b.opt.DeadLetterTopic, ""))
	}
}

// refusal is the error in an answer, for the whole request or for the record.
func refusal(answer *kafka.ProduceResponse) error {
	if answer.Error != nil {
		return answer.Error
	}
	for _, err := range answer.RecordErrors {
		return fmt.Errorf("the broker refuses the record: %w", err)
	}
	return nil
}
