package kafkatest

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(Main(m)) }

// Not in parallel: the environment is everybody's.
func TestATestIsSkippedWhereItsBrokerIsNot(t *testing.T) {
	needs := map[string]func(t *testing.T){
		"kfake":        func(t *testing.T) { StartEmbedded(t, "faults") },
		"Apache Kafka": func(t *testing.T) { StartApache(t, "its cleaner") },
		"a login":      func(t *testing.T) { StartLimited(t) },
		"TLS":          func(t *testing.T) { StartTLS(t, "its TLS", true) },
		"any":          func(t *testing.T) { Start(t) },
	}
	other := Start(t).ListenAddrs()[0]
	for which, runs := range map[string][]string{"": {"kfake", "a login", "any"}, other: {"Apache Kafka", "any"}} {
		t.Setenv(whichKafka, which)
		for _, listener := range []string{whichGuarded, whichTLS, whichMutual, whichGuardedTLS, whichCerts} {
			t.Setenv(listener, "")
		}
		var ran []string
		for name, start := range needs {
			t.Run(name, func(t *testing.T) {
				start(t)
				ran = append(ran, name)
			})
		}
		require.ElementsMatch(t, runs, ran, "on %q", which)
	}
}

func TestASharedBrokersTestsHaveNamesOfTheirOwnAndLeaveNothingBehind(t *testing.T) {
	t.Setenv(whichKafka, Start(t).ListenAddrs()[0])
	var made []string
	for _, name := range []string{"one", "another"} {
		t.Run(name, func(t *testing.T) {
			broker := Start(t)
			broker.Admin().CreateTopic(t, "topic", 2)
			made = append(made, broker.Name("topic"))
			client := Connect(t, broker, "topic", kgo.ConsumeTopics(broker.Name("topic")), kgo.ConsumerGroup(broker.Name("group")))
			require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Partition: 1, Value: []byte(name)}).FirstErr())
			require.Equal(t, map[int32]int64{0: 0, 1: 1}, broker.Admin().Ends(t, "topic"))
			records := client.PollFetches(t.Context()).Records()
			require.Len(t, records, 1)
			require.Equal(t, name, string(records[0].Value))
			require.NoError(t, client.CommitUncommittedOffsets(t.Context()))
			require.Equal(t, int64(1), broker.Admin().Committed(t, "group", "topic")[1])
		})
	}
	require.NotEqual(t, made[0], made[1])
	left := &Admin{named: bare{}, client: Start(t).Admin().client, kadm: Start(t).Admin().kadm}
	for _, topic := range made {
		require.Zero(t, left.Partitions(t, topic))
	}
}

// bare names are as they are.
type bare struct{}

func (bare) Name(name string) string { return name }
