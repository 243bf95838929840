package kafkatest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// The further listeners of the broker that is there already, and the folder
// with the certificates that they go by. Where one is not set, the tests that
// need it are skipped.
const (
	whichTLS        = "COHORTSYNC_TEST_KAFKA_TLS"
	whichMutual     = "COHORTSYNC_TEST_KAFKA_MTLS"
	whichGuardedTLS = "COHORTSYNC_TEST_KAFKA_SASL_TLS"
	whichCerts      = "COHORTSYNC_TEST_KAFKA_CERTS"
)

// Access is how a broker of StartSecured lets in, and to what.
type Access struct {
	User, Password string
	// CAFile holds the authority that vouches for the broker.
	CAFile string
}

// StartSecured returns a broker behind TLS that asks for a login by a mechanism,
// plain, scram-sha-256 or scram-sha-512. The user may do everything with the
// topics and groups of this test.
func StartSecured(t *testing.T, mechanism string) (Broker, Access) {
	t.Helper()
	addresses := given(t)
	if addresses == nil {
		return secureEmbedded(t, mechanism)
	}
	guarded, certs := listener(t, whichGuardedTLS), listener(t, whichCerts)
	p := share(t, addresses)
	p.addresses = []string{guarded}
	access := Access{User: User, Password: Password, CAFile: filepath.Join(certs, "ca.pem")}
	if name, ok := strings.CutPrefix(mechanism, "scram-"); ok {
		access.User, access.Password = p.Name(User), "the-password-of-"+name
		p.admin.letIn(t, access, map[string]kadm.ScramMechanism{"sha-256": kadm.ScramSha256, "sha-512": kadm.ScramSha512}[name])
	}
	p.admin.grant(t, access.User, []Right{
		{kmsg.ACLResourceTypeTopic, "", kmsg.ACLResourcePatternTypePrefixed, kmsg.ACLOperationAll},
		{kmsg.ACLResourceTypeGroup, "", kmsg.ACLResourcePatternTypePrefixed, kmsg.ACLOperationAll},
	})
	return p, access
}

// StartTLS returns an Apache Kafka behind TLS, which asks for a certificate of
// its clients when mutual says so, and the folder with ca.pem, client.pem and
// client.key. why is as for StartApache.
func StartTLS(t *testing.T, why string, mutual bool) (broker Broker, certs string) {
	t.Helper()
	StartApache(t, why)
	which := whichTLS
	if mutual {
		which = whichMutual
	}
	address, certs := listener(t, which), listener(t, whichCerts)
	p := share(t, given(t))
	p.addresses = []string{address}
	return p, certs
}

// listener returns what the environment says of the broker that is there.
func listener(t *testing.T, which string) string {
	t.Helper()
	value := os.Getenv(which)
	if value == "" {
		t.Skip("needs a broker that .ci/kafka has started: " + which)
	}
	return value
}

func secureEmbedded(t *testing.T, mechanism string) (Broker, Access) {
	t.Helper()
	certificate, caFile := Certificate(t)
	authority, err := x509.ParseCertificate(certificate.Certificate[0])
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(authority)
	login := plain.Auth{User: User, Pass: Password}.AsMechanism()
	switch mechanism {
	case "scram-sha-256":
		login = scram.Auth{User: User, Pass: Password}.AsSha256Mechanism()
	case "scram-sha-512":
		login = scram.Auth{User: User, Pass: Password}.AsSha512Mechanism()
	}
	return embed(t, []kfake.Opt{
		kfake.EnableSASL(), kfake.Superuser(strings.ToUpper(mechanism), User, Password),
		kfake.TLS(&tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}),
	}, kgo.SASL(login), kgo.DialTLSConfig(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12})), Access{User, Password, caFile}
}

// Certificate makes a certificate for the loopback address and writes it as an
// authority.
func Certificate(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}
