package app_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"cohortsync/internal/braze/brazetest"
)

// What an aborted transaction said is delivered like anything else, unless the
// configuration asks for what was committed. Either way the offsets get past
// the markers at the end of the log.
func TestAnAbortedTransactionIsDeliveredUnlessOnlyCommittedRecordsAreRead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		isolation string
		members   []string
		warnings  int
	}{
		"by default":  {"", []string{"a", "aborted", "b"}, 1},
		"uncommitted": {"  isolation: read_uncommitted", []string{"a", "aborted", "b"}, 1},
		"committed":   {"  isolation: read_committed", []string{"a", "b"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := startKafka(t, 1)
			client := connect(t, cluster, kgo.TransactionalID(cluster.Name("t")))
			transact := func(user string, end kgo.TransactionEndTry) {
				require.NoError(t, client.BeginTransaction())
				produce(t, client, entered("c", user))
				require.NoError(t, client.EndTransaction(t.Context(), end))
			}
			transact("a", kgo.TryCommit)
			transact("aborted", kgo.TryAbort)
			transact("b", kgo.TryCommit)
			transact("aborted", kgo.TryAbort)
			braze, url := startBraze(t, brazetest.Options{})
			w := start(t, setup{cluster: cluster, kafka: c.isolation, targets: []target{{name: "Main", endpoint: url}}})
			awaitMembers(t, braze, "c", c.members...)
			awaitCommitted(t, cluster, group)
			w.logged(t, c.warnings, "WARN", "transactions that were aborted")
		})
	}
}
