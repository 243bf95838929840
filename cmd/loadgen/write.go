package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// writeCmd is loadgen write.
type writeCmd struct {
	Kafka kafkaFlags `embed:""`

	Duration time.Duration `default:"0s" placeholder:"TIME" group:"How much:" help:"Stop after this long."`
	Shape    shape         `embed:""`

	Expected string `type:"path" placeholder:"FILE" group:"Outcome:" help:"Write to this file, as JSON, who must be in which cohort once a worker is through. Needs 8 bytes of memory a membership."`
}

// kafkaFlags say where the records go.
type kafkaFlags struct {
	Brokers    []string `default:"localhost:9092" placeholder:"HOST:PORT" group:"Kafka:" help:"Brokers to begin with (default: ${default}). Neither TLS nor SASL is spoken."`
	Topic      string   `default:"cohort-membership-changes" group:"Kafka:" help:"The topic (default: ${default})."`
	Create     bool     `group:"Kafka:" help:"Create the topic when it is missing."`
	Partitions int      `default:"12" group:"Kafka:" help:"Partitions of a topic that --create creates."`
	Replicas   int      `default:"1" group:"Kafka:" help:"Copies of each partition of such a topic."`
}

// Help says more than the one line.
func (writeCmd) Help() string {
	return `Writes cohort membership changes to a topic: keyed by cohort_id, in the partition that Kafka's own producers choose for that key, every record acknowledged by all replicas before the next of its partition leaves. A batch that fails is sent again for as long as it takes.

Ctrl-C stops cleanly: what is on its way is finished, and --expected is written with what was acknowledged. A second one stops at once, without the file.

Examples:
  loadgen --create --changes 2000000 --unique --expected expected.json
  loadgen --rate 1000 --duration 10m --churn 0.3 --late 0.02 --duplicates 0.01 --expected expected.json`
}

// grace is how long a run that was told to stop waits for acknowledgements.
const grace = 10 * time.Second

// Run writes until all is written, the time is up, or ctx ends.
func (cmd writeCmd) Run(ctx context.Context, p process) (err error) {
	w, err := cmd.writer(p)
	if err != nil {
		return usageError{err}
	}
	defer w.cluster.close()
	if w.partitions, err = w.cluster.ready(ctx, cmd.Kafka); err != nil {
		return err
	}
	var file *outcomeFile
	if cmd.Expected != "" {
		if file, err = createOutcome(cmd.Expected); err != nil {
			return err
		}
		w.expect = newExpectation(w.people)
	}
	if cmd.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cmd.Duration)
		defer cancel()
	}
	began := time.Now()
	err = w.show(ctx, p)
	w.report(p, time.Since(began))
	if file != nil {
		err = errors.Join(err, file.commit(w.expect, w.outcome()))
	}
	return err
}

// writer returns the run that the flags ask for. It does not touch the network.
func (cmd writeCmd) writer(p process) (*writer, error) {
	s, wrong := cmd.Shape.filled(p.now(), cmd.Duration > 0)
	if err := errors.Join(wrong, cmd.check()); err != nil {
		return nil, err
	}
	people := newPopulation(s)
	w := &writer{
		cluster: connect(cmd.Kafka.Brokers, cmd.Kafka.Topic), shape: s, people: people,
		sequence: newSequence(s, people), tally: new(tally), grace: grace,
	}
	if size := w.largest(); size > batchBytes {
		return nil, fmt.Errorf("a record of %d users has %d bytes, and brokers take %d: make --users-per-record smaller", s.UsersPerRecord, size, batchBytes)
	}
	return w, nil
}

func (cmd writeCmd) check() error {
	switch {
	case cmd.Duration < 0:
		return fmt.Errorf("--duration is %v; more than nothing is right", cmd.Duration)
	case cmd.Kafka.Create && (cmd.Kafka.Partitions < 1 || cmd.Kafka.Replicas < 1):
		return errors.New("--partitions and --replicas must be at least 1")
	default:
		return nil
	}
}

// writer is one run.
type writer struct {
	cluster    *cluster
	shape      shape
	people     *population
	partitions []int
	sequence   *sequence
	expect     *expectation // Nil when nobody asks for it.
	tally      *tally
	// grace is how long acknowledgements are waited for when ctx has ended.
	grace time.Duration
}

// show runs and shows how it goes.
func (w *writer) show(ctx context.Context, p process) error {
	showing, hide := context.WithCancel(context.WithoutCancel(ctx))
	var screen sync.WaitGroup
	screen.Go(func() { newProgress(p.stderr, w.tally, w.shape.Changes).show(showing) })
	defer screen.Wait()
	defer hide()
	return w.run(ctx)
}

// run writes all records. When ctx ends it makes no more, and waits for the
// acknowledgement of those on their way.
func (w *writer) run(ctx context.Context) error {
	running, stop := context.WithCancel(ctx)
	defer stop()
	acknowledging, abandon := outlive(running, w.grace)
	defer abandon()
	pump := newPump(w.sequence, w.partitions)
	var group errgroup.Group
	group.Go(func() error { pump.run(running); return nil })
	for i, id := range w.partitions {
		sender := &producer{
			cluster: w.cluster, partition: id, encoder: newEncoder(w.shape, w.people), expect: w.expect, tally: w.tally,
		}
		group.Go(func() error {
			err := sender.run(acknowledging, pump.lanes[i].out)
			if err != nil {
				stop() // The others finish what is on its way.
			}
			return err
		})
	}
	return group.Wait()
}

// largest returns the size of the largest record.
func (w *writer) largest() int {
	all := stretch{users: int32(min(int64(w.shape.UsersPerRecord), w.people.size(0)))}
	return len(newEncoder(w.shape, w.people).appendJSON(nil, record{time: w.shape.StartTime.UnixMicro(), people: all, in: true}))
}

func (w *writer) outcome() outcome {
	return outcome{
		Topic: w.cluster.topic, Seed: w.shape.Seed,
		Records: w.tally.records.Load(), Changes: w.tally.changes.Load(), Uncertain: w.tally.uncertain.Load(),
	}
}

// report has the last word.
func (w *writer) report(p process, took time.Duration) {
	o := w.outcome()
	fmt.Fprintf(p.stdout, "Wrote %d records with %d changes to %d partitions of %s in %.1f s: %.0f changes a second.\n",
		o.Records, o.Changes, len(w.partitions), o.Topic, took.Seconds(), perSecond(o.Changes, took))
	if o.Uncertain > 0 {
		fmt.Fprintf(p.stderr, "loadgen: %d records more were sent and not acknowledged: they may be in the topic, and the expected membership may differ by them\n", o.Uncertain)
	}
}

// outlive returns a context that ends some time after another one has.
func outlive(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(by)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-longer.Done():
		}
	})
	return longer, func() { stop(); cancel() }
}
