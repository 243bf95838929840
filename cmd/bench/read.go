package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"
)

// readCmd is the limit that the worker is compared with: kafka-go's batch read
// of every partition, one connection each, as the worker reads, with nothing
// done about what was read.
type readCmd struct {
	Broker string `required:"" help:"The broker's address."`
	Topic  string `required:"" help:"The topic to read from its start to its present end."`
}

// Run reads the topic and prints the number of records.
func (cmd readCmd) Run(ctx context.Context, out io.Writer) error {
	conn, err := kafka.DialContext(ctx, "tcp", cmd.Broker)
	if err != nil {
		return fmt.Errorf("dialling the broker: %w", err)
	}
	defer func() { _ = conn.Close() }()
	partitions, err := conn.ReadPartitions(cmd.Topic)
	if err != nil {
		return fmt.Errorf("asking for the partitions: %w", err)
	}
	counts := make([]int, len(partitions))
	var group errgroup.Group
	for i, p := range partitions {
		group.Go(func() error {
			n, err := readPartition(ctx, p)
			counts[i] = n
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	total := 0
	for _, n := range counts {
		total += n
	}
	fmt.Fprintln(out, total)
	return nil
}

func readPartition(ctx context.Context, p kafka.Partition) (read int, err error) {
	conn, err := (&kafka.Dialer{}).DialPartition(ctx, "tcp", "", p)
	if err != nil {
		return 0, fmt.Errorf("dialling partition %d: %w", p.ID, err)
	}
	defer func() { _ = conn.Close() }()
	_, end, err := conn.ReadOffsets()
	if err != nil {
		return 0, fmt.Errorf("asking for the end of partition %d: %w", p.ID, err)
	}
	for offset := int64(0); offset < end; {
		if _, err := conn.Seek(offset, kafka.SeekAbsolute|kafka.SeekDontCheck); err != nil {
			return 0, fmt.Errorf("seeking in partition %d: %w", p.ID, err)
		}
		batch := conn.ReadBatchWith(kafka.ReadBatchConfig{MinBytes: 1, MaxBytes: 1 << 20, MaxWait: time.Second})
		for {
			m, err := batch.ReadMessage()
			if err != nil {
				break
			}
			offset = m.Offset + 1
			read++
		}
		if err := batch.Close(); err != nil && !errors.Is(err, kafka.RequestTimedOut) {
			return 0, fmt.Errorf("reading partition %d: %w", p.ID, err)
		}
	}
	return read, nil
}
