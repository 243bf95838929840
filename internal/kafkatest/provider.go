package kafkatest

import (
	"crypto/rand"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Which broker the tests get is the environment's to say.
const (
	// whichKafka is empty for one embedded in each test (kfake), inContainer
	// for a container that all tests of a package share, or the addresses of a
	// broker that is there already.
	whichKafka  = "COHORTSYNC_TEST_KAFKA"
	inContainer = "container"
)

// Broker is a Kafka that a test uses, whichever it is.
type Broker interface {
	// ListenAddrs returns where it listens.
	ListenAddrs() []string
	// Name makes the name of a topic or a group the test's own, for the broker
	// may be everybody's. It puts something before the name, or nothing.
	Name(name string) string
	// Admin returns who may do everything, until the end of the test.
	Admin() *Admin
}

// Start returns a broker in which this test's names are not used yet. The
// options are for the embedded one.
func Start(t *testing.T, opts ...kfake.Opt) Broker {
	t.Helper()
	addresses := given(t)
	if addresses == nil {
		return embed(t, opts)
	}
	return share(t, addresses)
}

// Embedded is a broker in the test's own process, with all that only such a
// one can do: faults, requests that are looked at, held back or answered by
// the test, a restart.
type Embedded struct {
	*place
	hooks
}

// hooks lies one deeper than place, whose methods so go before kfake's.
type hooks struct{ *kfake.Cluster }

// StartEmbedded starts an embedded broker without topics, which ends with the
// test. Where the tests run on another, this one is skipped: why says what it
// needs of kfake.
func StartEmbedded(t *testing.T, why string, opts ...kfake.Opt) *Embedded {
	t.Helper()
	NeedsEmbedded(t, why)
	return embed(t, opts)
}

// NeedsEmbedded is for a test whose broker starts late: it is skipped at once.
func NeedsEmbedded(t *testing.T, why string) {
	t.Helper()
	if given(t) != nil {
		t.Skip("needs kfake: " + why)
	}
}

// StartApache returns an Apache Kafka. Where the tests run on the embedded
// broker, this one is skipped: why says what kfake has not got.
func StartApache(t *testing.T, why string) Broker {
	t.Helper()
	addresses := given(t)
	if addresses == nil {
		t.Skip("needs Apache Kafka: " + why)
	}
	return share(t, addresses)
}

// given returns the addresses of the broker that is not embedded, or nil.
func given(t *testing.T) []string {
	t.Helper()
	switch which := os.Getenv(whichKafka); which {
	case "":
		return nil
	case inContainer:
		require.FailNow(t, "nobody has started the container: TestMain has to call kafkatest.Main")
		return nil
	default:
		return strings.Split(which, ",")
	}
}

// embed starts an embedded broker, whose administrator logs in where that is
// asked for.
func embed(t *testing.T, opts []kfake.Opt, login ...kgo.Opt) *Embedded {
	t.Helper()
	cluster, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	p := &place{addresses: cluster.ListenAddrs()}
	p.admin = newAdmin(t, p, append(login, kgo.SeedBrokers(p.addresses...)))
	t.Cleanup(p.admin.client.Close)
	return &Embedded{p, hooks{cluster}}
}

// share returns a broker that others use, too. This test's topics and groups
// are removed at its end.
func share(t *testing.T, addresses []string) *place {
	t.Helper()
	p := &place{addresses: addresses, prefix: "t-" + strings.ToLower(rand.Text()[:10]) + "-"}
	p.admin = newAdmin(t, p, []kgo.Opt{kgo.SeedBrokers(addresses...)})
	t.Cleanup(func() {
		p.admin.removeAll(t)
		p.admin.client.Close()
	})
	return p
}

// place is where a broker listens, and what goes before this test's names.
type place struct {
	addresses []string
	prefix    string
	admin     *Admin
}

// ListenAddrs implements Broker.
func (p *place) ListenAddrs() []string { return p.addresses }

// Name implements Broker.
func (p *place) Name(name string) string { return p.prefix + name }

// Admin implements Broker.
func (p *place) Admin() *Admin { return p.admin }
