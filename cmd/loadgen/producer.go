package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/segmentio/kafka-go"
)

// A request holds at most this many records, and bytes of them: brokers take
// batches of 1 MB unless told otherwise.
const (
	batchRecords = 1000
	batchBytes   = 900_000
)

// A batch that fails is sent again after longer and longer pauses.
const (
	firstPause = 50 * time.Millisecond
	mostPause  = 5 * time.Second
)

// producer writes the records of one partition, in their order: one request is
// in flight, and the next one leaves when it is acknowledged by all replicas.
type producer struct {
	cluster   *cluster
	partition int
	encoder   *encoder
	expect    *expectation // Nil when nobody asks for it.
	tally     *tally
	// buffer and batch are used again only after an answer: kafka-go may still
	// be reading them when a request has failed.
	buffer []byte
	batch  []kafka.Record
}

// run writes what comes until there is no more, or until ctx ends; then, and
// when the broker refuses a batch for good, it returns an error.
func (p *producer) run(ctx context.Context, in <-chan []record) error {
	var waiting []record
	for records := range in {
		waiting = append(waiting[:0], records...)
		// What has piled up while a request was in flight leaves together.
		for more := true; more && len(waiting) < batchRecords; {
			select {
			case records, more = <-in:
				waiting = append(waiting, records...)
			default:
				more = false
			}
		}
		for len(waiting) > 0 {
			n, err := p.write(ctx, waiting)
			if err != nil {
				return err
			}
			waiting = waiting[n:]
		}
	}
	return nil
}

// write writes the first of the records, as many as one request holds, and
// returns when they are acknowledged.
func (p *producer) write(ctx context.Context, records []record) (n int, err error) {
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(firstPause), backoff.WithMaxInterval(mostPause), backoff.WithMaxElapsedTime(0))
	var last error // Of those that a retry followed.
	err = backoff.RetryNotify(func() error {
		n = p.fill(records)
		return p.send(ctx)
	}, backoff.WithContext(pause, ctx), func(err error, _ time.Duration) {
		last = err
		p.tally.trouble(p.partition, err)
	})
	if err != nil {
		if last != nil || ctx.Err() != nil {
			p.tally.uncertain.Add(int64(n))
		}
		if ctx.Err() != nil {
			err = fmt.Errorf("nothing was acknowledged before the end: %w", cmp.Or(last, err))
		}
		return n, fmt.Errorf("writing to partition %d of topic %q: %w", p.partition, p.cluster.topic, err)
	}
	if last != nil {
		p.tally.trouble(p.partition, nil)
	}
	for _, r := range records[:n] {
		if p.expect != nil {
			p.expect.take(r)
		}
		p.tally.acknowledged(r)
	}
	return n, nil
}

// fill makes a batch of the first of the records and says how many they are.
func (p *producer) fill(records []record) (n int) {
	p.buffer, p.batch = p.buffer[:0], p.batch[:0]
	for _, r := range records[:min(len(records), batchRecords)] {
		start := len(p.buffer)
		p.buffer = p.encoder.appendJSON(p.buffer, r)
		if len(p.buffer) > batchBytes && start > 0 {
			break
		}
		p.batch = append(p.batch, kafka.Record{
			Key:   kafka.NewBytes([]byte(p.encoder.label(r.people.cohort).id)),
			Value: kafka.NewBytes(p.buffer[start:len(p.buffer):len(p.buffer)]),
		})
		n++
	}
	return n
}

// send makes one attempt. Its error is permanent when another one is useless.
func (p *producer) send(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	buffer, batch := p.buffer, p.batch
	p.buffer, p.batch = nil, nil
	answer, err := p.cluster.client.Produce(ctx, &kafka.ProduceRequest{
		Topic: p.cluster.topic, Partition: p.partition, RequiredAcks: kafka.RequireAll,
		Records: kafka.NewRecordReader(batch...),
	})
	if err == nil {
		p.buffer, p.batch = buffer, batch
		err = answer.Error
	}
	if err == nil && len(answer.RecordErrors) > 0 {
		for _, refused := range answer.RecordErrors {
			err = backoff.Permanent(refused)
		}
	}
	var said kafka.Error
	if errors.As(err, &said) && final(said) {
		return backoff.Permanent(err)
	}
	return err
}

// final says that the broker will go on refusing what it has refused. All else
// may pass: a leader moves, replicas come back, a network heals.
func final(e kafka.Error) bool {
	switch e {
	case kafka.MessageSizeTooLarge, kafka.RecordListTooLarge, kafka.InvalidTopic, kafka.InvalidRequiredAcks,
		kafka.TopicAuthorizationFailed, kafka.ClusterAuthorizationFailed, kafka.InvalidTimestamp,
		kafka.UnsupportedVersion, kafka.UnsupportedForMessageFormat, kafka.PolicyViolation, kafka.InvalidRecord:
		return true
	default:
		return false
	}
}
