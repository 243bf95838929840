package kafkatest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"
)

// The one user whom a broker of StartLimited, and the one that .ci/kafka
// starts, let in by PLAIN.
const (
	User     = "worker"
	Password = "the-sasl-password-that-nobody-may-see"
)

// whichGuarded is the address at which the broker that is there already asks
// for a login without TLS.
const whichGuarded = "COHORTSYNC_TEST_KAFKA_SASL"

// Right is what a user may do.
type Right struct {
	on      kmsg.ACLResourceType
	name    string
	pattern kmsg.ACLResourcePatternType
	may     kmsg.ACLOperation
}

// OnTopic is the right to do something with a topic.
func OnTopic(name string, may ...kmsg.ACLOperation) []Right {
	return allow(kmsg.ACLResourceTypeTopic, name, kmsg.ACLResourcePatternTypeLiteral, may)
}

// OnGroups is the right to do something with all groups of a prefix.
func OnGroups(prefix string, may ...kmsg.ACLOperation) []Right {
	return allow(kmsg.ACLResourceTypeGroup, prefix, kmsg.ACLResourcePatternTypePrefixed, may)
}

func allow(on kmsg.ACLResourceType, name string, pattern kmsg.ACLResourcePatternType, may []kmsg.ACLOperation) []Right {
	all := make([]Right, len(may))
	for i, operation := range may {
		all[i] = Right{on, name, pattern, operation}
	}
	return all
}

// StartLimited returns a broker that asks for a login by PLAIN, and lets User do
// what the rights say and nothing else. Its administrator may do everything.
func StartLimited(t *testing.T, rights ...[]Right) Broker {
	t.Helper()
	var all []Right
	for _, r := range rights {
		all = append(all, r...)
	}
	addresses := given(t)
	if addresses == nil {
		return limitEmbedded(t, all)
	}
	guarded := listener(t, whichGuarded)
	p := share(t, addresses)
	p.addresses = []string{guarded}
	p.admin.grant(t, User, all)
	return p
}

func limitEmbedded(t *testing.T, rights []Right) Broker {
	t.Helper()
	acls := make([]kfake.ACL, len(rights))
	for i, r := range rights {
		acls[i] = kfake.ACL{Resource: r.on, Name: r.name, Pattern: r.pattern, Operation: r.may, Allow: true}
	}
	return embed(t, []kfake.Opt{
		kfake.EnableSASL(), kfake.EnableACLs(),
		kfake.Superuser("PLAIN", "admin", Password), kfake.User("PLAIN", User, Password, acls...),
	}, kgo.SASL(plain.Auth{User: "admin", Pass: Password}.AsMechanism()))
}

// StartGuarded starts an embedded broker that asks for a login by PLAIN, of the
// one user who may do everything. why is as for StartEmbedded.
func StartGuarded(t *testing.T, why, user, password string, opts ...kfake.Opt) *Embedded {
	t.Helper()
	NeedsEmbedded(t, why)
	guard := []kfake.Opt{kfake.EnableSASL(), kfake.Superuser("PLAIN", user, password)}
	return embed(t, append(guard, opts...), kgo.SASL(plain.Auth{User: user, Pass: password}.AsMechanism()))
}

// grant gives a user the rights. No other test has anything of them, for they
// are rights on this test's own names.
func (a *Admin) grant(t *testing.T, user string, rights []Right) {
	t.Helper()
	if len(rights) == 0 {
		return
	}
	request := kmsg.NewPtrCreateACLsRequest()
	for _, r := range rights {
		c := kmsg.NewCreateACLsRequestCreation()
		c.ResourceType, c.ResourceName, c.ResourcePatternType = r.on, a.named.Name(r.name), r.pattern
		c.Principal, c.Host, c.Operation, c.PermissionType = "User:"+user, "*", r.may, kmsg.ACLPermissionTypeAllow
		request.Creations = append(request.Creations, c)
	}
	answer, err := request.RequestWith(t.Context(), a.client)
	require.NoError(t, err)
	for _, r := range answer.Results {
		require.NoError(t, kerr.ErrorForCode(r.ErrorCode))
	}
}

// letIn makes a user who logs in by a SCRAM mechanism, and waits until the
// broker knows.
func (a *Admin) letIn(t *testing.T, who Access, mechanism kadm.ScramMechanism) {
	t.Helper()
	answer, err := a.kadm.AlterUserSCRAMs(t.Context(), nil, []kadm.UpsertSCRAM{
		{User: who.User, Password: who.Password, Mechanism: mechanism, Iterations: 4096},
	})
	require.NoError(t, err)
	require.NoError(t, answer.Error())
	require.Eventually(t, func() bool {
		known, err := a.kadm.DescribeUserSCRAMs(t.Context(), who.User)
		return err == nil && known.Ok()
	}, soon, 5*time.Millisecond)
}
