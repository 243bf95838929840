package broker

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"cohortsync/internal/kafkatest"
	"cohortsync/internal/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(kafkatest.Main(m)) }

const (
	topic  = "changes"
	dead   = "changes.dead-letter"
	inTime = 20 * time.Second
	often  = 20 * time.Millisecond
)

// startKafka starts a broker with the topic.
func startKafka(t *testing.T, partitions int32) kafkatest.Broker {
	t.Helper()
	cluster := startEmpty(t)
	cluster.Admin().CreateTopic(t, topic, partitions)
	return cluster
}

// startEmpty starts a broker without topics, which creates what it is asked to
// create.
func startEmpty(t *testing.T) kafkatest.Broker {
	t.Helper()
	return kafkatest.Start(t, kfake.AllowAutoTopicCreation(), shortSessions())
}

// startEmbedded starts an embedded broker with the topic.
func startEmbedded(t *testing.T, why string, partitions int32, opts ...kfake.Opt) *kafkatest.Embedded {
	t.Helper()
	return startBare(t, why, append([]kfake.Opt{kfake.SeedTopics(partitions, topic)}, opts...)...)
}

// startBare starts an embedded broker without topics.
func startBare(t *testing.T, why string, opts ...kfake.Opt) *kafkatest.Embedded {
	t.Helper()
	return kafkatest.StartEmbedded(t, why, append([]kfake.Opt{shortSessions()}, opts...)...)
}

func shortSessions() kfake.Opt { return kfake.GroupMinSessionTimeout(time.Millisecond) }

// connect makes a Broker with times that suit tests. The network timeout is
// long in comparison: kfake starts a rebalance's timer anew with each join.
func connect(t *testing.T, cluster kafkatest.Broker, change ...func(*Options)) *Broker {
	t.Helper()
	named := func(o *Options) { o.Topic, o.DeadLetterTopic = cluster.Name(topic), cluster.Name(dead) }
	b, err := New(withDefaults(cluster.ListenAddrs()[0], append([]func(*Options){named}, change...)...))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// named makes the name of a group the test's own, as that of b's topic is.
func named(b *Broker, group string) string { return strings.TrimSuffix(b.opt.Topic, topic) + group }

func withDefaults(address string, change ...func(*Options)) Options {
	opt := Options{
		Brokers:           []string{address},
		Topic:             topic,
		DeadLetterTopic:   dead,
		SessionTimeout:    6 * time.Second,
		RebalanceTimeout:  3 * time.Second,
		HeartbeatInterval: 100 * time.Millisecond,
		DrainTimeout:      3 * time.Second,
		NetworkTimeout:    10 * time.Second,
		WatchInterval:     100 * time.Millisecond,
		PollWait:          100 * time.Millisecond,
		JoinBackoff:       100 * time.Millisecond,
		Logger:            slog.New(slog.DiscardHandler),
	}
	for _, c := range change {
		c(&opt)
	}
	return opt
}

func producer(t *testing.T, cluster kafkatest.Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	return kafkatest.Connect(t, cluster, topic, opts...)
}

// produce writes the values to a partition, one batch each.
func produce(t *testing.T, cluster kafkatest.Broker, partition int32, values ...string) {
	t.Helper()
	client := producer(t, cluster)
	for _, v := range values {
		require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Partition: partition, Value: []byte(v)}).FirstErr())
	}
}

// numbered returns n values that tell their place.
func numbered(n int) []string {
	values := make([]string, n)
	for i := range values {
		values[i] = fmt.Sprintf("value %d", i)
	}
	return values
}

// readAll fetches until it has n records that are no markers, as a feed does.
func readAll(t *testing.T, b *Broker, partition int, offset int64, n int) []stream.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), inTime)
	defer cancel()
	cursor := b.Log().Open(partition)
	defer func() { require.NoError(t, cursor.Close()) }()
	var records []stream.Record
	for len(records) < n {
		fetched, err := cursor.Fetch(ctx, offset, 1<<20)
		require.NoError(t, err)
		require.GreaterOrEqual(t, fetched.Next, offset)
		for _, r := range fetched.Records {
			require.GreaterOrEqual(t, r.Offset, offset)
			require.Less(t, r.Offset, fetched.Next)
			if !r.Control {
				records = append(records, r)
			}
		}
		offset = fetched.Next
	}
	return records
}

func valuesOf(records []stream.Record) []string {
	values := make([]string, len(records))
	for i, r := range records {
		values[i] = string(r.Value)
	}
	return values
}

// worker runs a membership and shows the generations that it serves.
type worker struct {
	*Membership
	generations chan *served
	stop        context.CancelFunc
	stopped     chan struct{}
	err         error
}

// served is one generation that a worker serves until it is released or the
// generation ends.
type served struct {
	stream.Generation
	ctx     context.Context
	release chan struct{}
}

func startWorker(t *testing.T, b *Broker, group string) *worker {
	t.Helper()
	return startServing(t, b, group, func(context.Context, stream.Generation) {})
}

// startServing is startWorker with what a worker does to drain.
func startServing(t *testing.T, b *Broker, group string, drain func(context.Context, stream.Generation)) *worker {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &worker{Membership: b.Membership(named(b, group)), generations: make(chan *served, 100), stop: cancel, stopped: make(chan struct{})}
	go func() {
		defer close(w.stopped)
		w.err = w.Run(ctx, func(ctx context.Context, gen stream.Generation) {
			s := &served{Generation: gen, ctx: ctx, release: make(chan struct{})}
			w.generations <- s
			select {
			case <-ctx.Done():
			case <-s.release:
			}
			drain(ctx, gen)
		})
	}()
	t.Cleanup(func() { w.quit(t) })
	return w
}

// quit stops the worker and waits for it.
func (w *worker) quit(t *testing.T) {
	t.Helper()
	w.stop()
	receive(t, w.stopped)
}

// owning waits for a generation that owns n partitions.
func (w *worker) owning(t *testing.T, n int) *served {
	t.Helper()
	for {
		s := receive(t, w.generations)
		if owned, _ := s.Assigned(); len(owned) == n {
			return s
		}
	}
}

func (w *worker) eventually(t *testing.T, state State) {
	t.Helper()
	require.Eventually(t, func() bool { return w.Status().State == state }, inTime, often, "waiting for %q", state)
}

// receive takes from a channel, closed ones included, and does not wait for ever.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(inTime):
		require.FailNow(t, "nothing came")
		panic("unreachable")
	}
}

// lines is a logger's output.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(p))
	return len(p), nil
}

func (l *lines) with(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, line := range l.all {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

func (l *lines) option(o *Options) { o.Logger = slog.New(slog.NewTextHandler(l, nil)) }

// observe counts requests of one kind that match.
func observe(cluster *kafkatest.Embedded, key kmsg.Key, when func(kmsg.Request) bool) *kfake.FaultHandle {
	return cluster.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Count: -1, Observe: true, When: when})
}

// holdNext makes the broker sit on the next request of a kind until it is let
// go, at the end of the test at the latest. held says that it has come.
func holdNext(t *testing.T, cluster *kafkatest.Embedded, key kmsg.Key) (held <-chan struct{}, letGo func()) {
	t.Helper()
	came, free, awake := make(chan struct{}), make(chan struct{}), make(chan struct{})
	letGo = sync.OnceFunc(func() { close(free) })
	var once atomic.Bool
	cluster.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
		if once.CompareAndSwap(false, true) {
			cluster.SleepControl(func() { close(came); <-free })
			close(awake)
		}
		return nil, nil, false
	})
	t.Cleanup(func() {
		letGo()
		// A cluster that is closed before it has put the request to sleep and
		// woken it locks itself up.
		select {
		case <-came:
			receive(t, awake)
		default:
		}
	})
	return came, letGo
}
