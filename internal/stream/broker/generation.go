package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"cohortsync/internal/stream"
)

// shortest is the least that a generation lasts when it is this member that
// ends it: one that rejoins without a pause keeps its whole group rebalancing.
const shortest = time.Second

// generation is the one function that runs in a generation of kafka-go: it
// would end the generation as soon as the first of several returned. present
// ends when this worker stops or the topic is gone, ended when the generation
// does.
func (m *Membership) generation(present, ended context.Context, gen *kafka.Generation, topicGone func(), serve func(context.Context, stream.Generation)) {
	began := time.Now()
	// ended is no proper context: it carries no values and its error is its own.
	ctx, cancel := context.WithCancel(present)
	defer cancel()
	stop := context.AfterFunc(ended, cancel)
	defer stop()

	// The watch begins before the offsets are known: they may never be, when the
	// topic has been made anew with fewer partitions.
	var watch sync.WaitGroup
	watch.Go(func() { m.watch(ctx, cancel, topicGone) })
	g, err := m.open(ctx, gen)
	if err != nil {
		m.logger.Debug("the generation ended before its offsets were known", "error", err)
		if errors.Is(err, kafka.UnknownTopicOrPartition) {
			topicGone()
		}
	} else {
		m.status.enter(Joined, nil)
		serve(ctx, g)
		g.commits.Wait()
	}
	cancel()
	watch.Wait()
	if ended.Err() == nil && present.Err() == nil {
		living, release := context.WithCancel(present)
		defer release()
		defer context.AfterFunc(ended, release)()
		pause(living, shortest-time.Since(began))
	}
	m.status.enter(Joining, nil)
}

// watch ends the generation when the topic has other partitions than it was
// assigned with, so that the group assigns them anew, and leaves the group
// when there is no topic. Every member watches: one whose view lags behind
// rejoins once more than it must.
func (m *Membership) watch(ctx context.Context, rejoin, topicGone func()) {
	ticker := time.NewTicker(m.b.opt.WatchInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		partitions, err := m.b.partitions(ctx, m.b.opt.Topic)
		switch {
		case errors.Is(err, kafka.UnknownTopicOrPartition):
			m.logger.Warn("the topic is gone; leaving the group until it is back")
			topicGone()
			return
		case err != nil:
			continue // No news. The heartbeats find out when there is no broker.
		case int64(len(partitions)) != m.counted.Load():
			m.logger.Info("the topic's partitions have changed; rejoining", "from", m.counted.Load(), "to", len(partitions))
			m.counted.Store(int64(len(partitions)))
			rejoin()
			return
		}
	}
}

// generation is what this member owns; it implements stream.Generation.
type generation struct {
	m     *Membership
	gen   *kafka.Generation
	owned []stream.Assignment
	total int

	// turn holds a token while a commit is under way: kafka-go does not keep
	// two of them in order.
	turn    chan struct{}
	commits sync.WaitGroup
}

// open finds out what the group has committed. kafka-go has looked, too, but
// takes an answer that is an error for "no commit", and would start anew.
func (m *Membership) open(ctx context.Context, gen *kafka.Generation) (*generation, error) {
	g := &generation{m: m, gen: gen, turn: make(chan struct{}, 1)}
	for {
		committed, err := m.b.committed(ctx, m.group)
		if err == nil {
			err = g.assign(committed)
		}
		switch {
		case err == nil:
			return g, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, kafka.UnknownTopicOrPartition):
			return nil, err
		}
		m.tell("cannot read the group's committed offsets; trying again", err)
		pause(ctx, m.b.opt.JoinBackoff)
	}
}

func (g *generation) assign(committed map[int]int64) error {
	g.owned = nil
	for _, a := range g.gen.Assignments[g.m.b.opt.Topic] {
		offset, ok := committed[a.ID]
		if !ok {
			return fmt.Errorf("reading the committed offsets: partition %d is assigned but not seen yet", a.ID)
		}
		// A partition that came after this worker had looked is a new one.
		g.owned = append(g.owned, stream.Assignment{Partition: a.ID, Committed: offset, New: !g.m.seen[a.ID]})
	}
	slices.SortFunc(g.owned, func(x, y stream.Assignment) int { return cmp.Compare(x.Partition, y.Partition) })
	g.total = len(committed)
	return nil
}

func (g *generation) Assigned() ([]stream.Assignment, int) { return g.owned, g.total }

func (g *generation) Fresh() bool { return g.m.virgin.Load() }

// Commit implements stream.Generation. kafka-go's commit cannot be
// interrupted: when ctx ends first, the commit goes on, its outcome is not
// known, and the next one waits for it.
func (g *generation) Commit(ctx context.Context, offsets map[int]int64) error {
	if len(offsets) == 0 {
		return nil
	}
	select {
	case g.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("committing offsets: %w", ctx.Err())
	}
	done := make(chan error, 1)
	copied := maps.Clone(offsets) // The commit may outlast this call.
	g.commits.Go(func() {
		defer func() { <-g.turn }()
		err := g.gen.CommitOffsets(map[string]map[int]int64{g.m.b.opt.Topic: copied})
		if err == nil {
			g.m.virgin.Store(false)
		}
		done <- err
	})
	select {
	case err := <-done:
		if err != nil {
			err = lacking(err, "Read", g.m.b.opt.Topic, g.m.group)
			return fmt.Errorf("committing offsets: %w", err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("committing offsets: %w", ctx.Err())
	}
}
