package main

import (
	"context"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cohortsync/internal/kafkatest"
)

const (
	topic = "changes"
	// inTime bounds what a test waits for.
	inTime = time.Minute
)

// writing is a run of loadgen write, the broker it writes to, and its file.
type writing struct {
	*testing.T
	kafka kafkatest.Broker
	file  string
	args  []string
}

func newWriting(t *testing.T, partitions int32, args ...string) *writing {
	t.Helper()
	kafka := kafkatest.Start(t)
	kafka.Admin().CreateTopic(t, topic, partitions)
	return writingTo(t, kafka, args...)
}

// newFaulty is newWriting to a broker that the test can look into.
func newFaulty(t *testing.T, why string, partitions int32, args ...string) (*writing, *kafkatest.Embedded) {
	t.Helper()
	kafka := kafkatest.StartEmbedded(t, why, kfake.SeedTopics(partitions, topic))
	return writingTo(t, kafka, args...), kafka
}

func writingTo(t *testing.T, kafka kafkatest.Broker, args ...string) *writing {
	t.Helper()
	file := filepath.Join(t.TempDir(), "expected.json")
	return &writing{t, kafka, file, append([]string{"--brokers", kafka.ListenAddrs()[0], "--topic", kafka.Name(topic), "--expected", file}, args...)}
}

// written returns how many records are in the topic.
func (w *writing) written() (total int64) {
	for _, end := range w.kafka.Admin().Ends(w.T, topic) {
		total += end
	}
	return total
}

// fold reads the whole log by another client and folds it. No cohort may be in
// two partitions.
func (w *writing) fold() *model {
	w.Helper()
	client := kafkatest.Connect(w.T, w.kafka, topic, kgo.ConsumeTopics(w.kafka.Name(topic)))
	ctx, cancel := context.WithTimeout(w.Context(), inTime)
	defer cancel()
	log, places := newModel(w), map[string]int32{}
	for log.records < w.written() {
		fetches := client.PollFetches(ctx)
		require.NoError(w, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			place, known := places[string(r.Key)]
			require.True(w, !known || place == r.Partition, "%s is in two partitions", r.Key)
			places[string(r.Key)] = r.Partition
			require.Contains(w, string(r.Value), `"cohort_id":"`+string(r.Key)+`"`)
			require.WithinDuration(w, time.Now(), r.Timestamp, inTime)
			log.read(r.Value)
		})
	}
	return log
}

// expected reads the file.
func (w *writing) expected() *outcome {
	w.Helper()
	o, err := readOutcome(w.file)
	require.NoError(w, err)
	return o
}

func TestTheFileSaysWhatTheLogAddsUpTo(t *testing.T) {
	t.Parallel()
	for name, args := range map[string]string{
		"single users":          "--changes=20000",
		"many users":            "--changes=50000 --users-per-record=500",
		"mixed":                 "--changes=30000 --users-per-record=100 --singles=0.9 --device-ids=2 --properties=3",
		"all that is difficult": "--changes=30000 --users=500 --churn=0.4 --late=0.2 --late-by=5ms --duplicates=0.2 --users-per-record=5",
		"unique":                "--changes=20000 --unique --cohorts=7",
		"at a rate":             "--changes=500 --rate=2000 --churn=0.4 --users=50",
		"one cohort":            "--changes=3000 --cohorts=1 --zipf=0 --seed=9",
		"named":                 "write --changes=100 --prefix=Run-7 --start-time=2026-01-02T03:04:05Z",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWriting(t, 6)
			flags := strings.Fields(args)
			code, out, errs := invoke(t.Context(), append(flags, w.args...)...)
			require.Equal(t, exitDone, code, errs)
			log, got := w.fold(), w.expected()
			require.Equal(t, w.kafka.Name(topic), got.Topic)
			require.Equal(t, log.records, got.Records)
			require.Equal(t, log.changes, got.Changes)
			require.Contains(t, args, "--changes="+strconv.FormatInt(log.changes, 10))
			require.Contains(t, out, strconv.FormatInt(log.changes, 10)+" changes to 6 partitions of "+w.kafka.Name(topic))
			require.Zero(t, got.Uncertain)
			log.requireEqual(got)
		})
	}
}

func TestTwoRunsOfOneSeedAndTimeMakeOneMembership(t *testing.T) {
	t.Parallel()
	w := newWriting(t, 3, "--changes=5000", "--users=300", "--churn=0.4", "--late=0.1", "--start-time=2026-01-02T03:04:05Z")
	for range 2 {
		code, _, errs := invoke(t.Context(), w.args...)
		require.Equal(t, exitDone, code, errs)
	}
	require.Equal(t, int64(10_000), w.written())
	w.fold().requireEqual(w.expected())
}

func TestWhatFailsForATimeIsSentAgain(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err *kerr.Error
		// twice says that the broker applies what it answers so: it is in the
		// log more than once.
		twice bool
	}{
		"a leader that moved":           {err: kerr.NotLeaderForPartition},
		"replicas that are missing":     {err: kerr.NotEnoughReplicas},
		"a time-out after the write":    {err: kerr.RequestTimedOut, twice: true},
		"an error that nobody explains": {err: kerr.UnknownServerError},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, kafka := newFaulty(t, "faults in its answers", 2, "--changes=10000", "--users=400", "--churn=0.4", "--late=0.1", "--late-by=1ms")
			fault := kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: tt.err, Count: 4})
			code, _, errs := invoke(t.Context(), w.args...)
			require.Equal(t, exitDone, code, errs)
			require.Equal(t, 4, fault.Hits())
			log, got := w.fold(), w.expected()
			require.Equal(t, int64(10_000), got.Changes, "each counts once")
			require.Equal(t, tt.twice, log.changes > 10_000)
			require.Zero(t, got.Uncertain)
			log.requireEqual(got)
		})
	}
}

func TestWhatTheBrokerRefusesEndsTheRun(t *testing.T) {
	t.Parallel()
	w, kafka := newFaulty(t, "faults in its answers", 2, "--changes=100000")
	kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Partitions: []int32{1}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	code, _, errs := invoke(t.Context(), w.args...)
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, `writing to partition 1 of topic "changes"`)
	require.Contains(t, errs, "Topic Authorization Failed")
	got := w.expected()
	require.Zero(t, got.Uncertain, "what is refused is not in the log")
	w.fold().requireEqual(got)
}

func TestCtrlCStopsCleanly(t *testing.T) {
	t.Parallel()
	w, kafka := newFaulty(t, "a look at each request", 4, "--changes=100000000", "--churn=0.3", "--duplicates=0.1")
	produced := kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Observe: true, Count: 20})
	ctx, interrupt := context.WithCancel(t.Context())
	go func() {
		defer interrupt()
		waiting, cancel := context.WithTimeout(t.Context(), inTime)
		defer cancel()
		_ = produced.Wait(waiting, 20) // The run goes on without end otherwise, and the test fails.
	}()
	code, out, errs := invoke(ctx, w.args...)
	require.Equal(t, exitDone, code, errs)
	require.Contains(t, out, "Wrote ")
	got := w.expected()
	require.Equal(t, w.written(), got.Records, "what was on its way was finished")
	require.Less(t, got.Changes, int64(100_000_000))
	w.fold().requireEqual(got)
}

func TestARunEndsWithItsTime(t *testing.T) {
	t.Parallel()
	w := newWriting(t, 2, "--duration=50ms", "--late=0.1", "--users=1000")
	code, _, errs := invoke(t.Context(), w.args...)
	require.Equal(t, exitDone, code, errs)
	require.Positive(t, w.written())
	w.fold().requireEqual(w.expected())
}

func TestWithoutKafkaARunGivesUpAfterItsGrace(t *testing.T) {
	t.Parallel()
	kafka := kafkatest.StartEmbedded(t, "faults in its answers", kfake.SeedTopics(1, topic))
	w, err := writeCmd{
		Kafka: kafkaFlags{Brokers: kafka.ListenAddrs(), Topic: topic},
		Shape: shape{Seed: 1, Cohorts: 1, Users: 10, UsersPerRecord: 1, LateBy: time.Second, Changes: 5000},
	}.writer(process{now: time.Now})
	require.NoError(t, err)
	t.Cleanup(w.cluster.close)
	w.partitions, err = w.cluster.ready(t.Context(), kafkaFlags{})
	require.NoError(t, err)
	w.expect, w.grace = newExpectation(w.people), time.Millisecond
	// The broker takes the first request and says that it timed out; then it is gone.
	timedOut := kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.RequestTimedOut, Count: -1})
	ctx, interrupt := context.WithCancel(t.Context())
	go func() {
		defer interrupt()
		waiting, cancel := context.WithTimeout(t.Context(), inTime)
		defer cancel()
		_ = timedOut.Wait(waiting, 1)
		kafka.Close()
	}()
	err = w.run(ctx)
	require.ErrorContains(t, err, `writing to partition 0 of topic "changes": nothing was acknowledged before the end: `)
	o := w.outcome()
	require.Zero(t, o.Records)
	require.Equal(t, int64(batchRecords), o.Uncertain)
}

func TestTheTopicIsCreatedOnlyOnRequest(t *testing.T) {
	t.Parallel()
	kafka := kafkatest.Start(t, kfake.AllowAutoTopicCreation())
	args := []string{"--brokers", kafka.ListenAddrs()[0], "--topic", kafka.Name("new"), "--changes=100"}
	code, _, errs := invoke(t.Context(), args...)
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "--create creates it")
	require.Zero(t, kafka.Admin().Partitions(t, "new"))

	args = append(args, "--create", "--partitions=5")
	for range 2 { // It may be there already.
		code, _, errs = invoke(t.Context(), args...)
		require.Equal(t, exitDone, code, errs)
	}
	require.Equal(t, 5, kafka.Admin().Partitions(t, "new"))
	require.Equal(t, "delete", kafka.Admin().Config(t, "new", "cleanup.policy"))
}

func TestWhatIsWrongWithKafkaIsSaid(t *testing.T) {
	t.Parallel()
	kafka := kafkatest.StartEmbedded(t, "faults in its answers")
	kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.CreateTopics}, Err: kerr.PolicyViolation, Count: -1})
	unused := kafkatest.Unused(t).String()
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"nothing listens":        {[]string{"--brokers", unused}, "is this where Kafka listens"},
		"it may not be created":  {[]string{"--brokers", kafka.ListenAddrs()[0], "--create"}, `creating topic "cohort-membership-changes": [44] Policy Violation`},
		"the file has no folder": {[]string{"--brokers", newWriting(t, 1).kafka.ListenAddrs()[0], "--topic", topic, "--expected", "/dev/null/expected.json"}, "creating the file for the expected membership"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, _, errs := invoke(t.Context(), append(tt.args, "--changes=10")...)
			require.Equal(t, exitFailed, code)
			require.Contains(t, errs, tt.want)
		})
	}
}

// BenchmarkWrite writes single-user records to a broker in this process, which
// takes its part of the processors.
func BenchmarkWrite(b *testing.B) {
	for name, flags := range map[string]string{"1User": "--unique", "500Users": "--unique --users-per-record=500"} {
		b.Run(name, func(b *testing.B) {
			kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DataDir(b.TempDir()))
			require.NoError(b, err)
			b.Cleanup(kafka.Close)
			const changes = 1_000_000
			args := append(strings.Fields(flags), "--brokers", kafka.ListenAddrs()[0], "--topic", topic, "--create",
				"--changes", strconv.Itoa(changes), "--expected", filepath.Join(b.TempDir(), "expected.json"))
			b.ReportAllocs()
			for b.Loop() {
				code, _, errs := invoke(b.Context(), args...)
				require.Equal(b, exitDone, code, errs)
			}
			b.ReportMetric(changes*float64(b.N)/b.Elapsed().Seconds(), "changes/s")
		})
	}
}
