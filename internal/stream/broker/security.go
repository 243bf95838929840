package broker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// TLSConfig builds a client's TLS configuration from PEM files. Without caFile
// the system's authorities are trusted; certFile and keyFile are the client's
// own certificate and come together or not at all.
func TLSConfig(caFile, certFile, keyFile string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pem, err := os.ReadFile(caFile) //nolint:gosec // Whoever writes the configuration may name any file.
		if err != nil {
			return nil, fmt.Errorf("reading the certificate authorities: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("reading the certificate authorities: %s holds no certificate in PEM form", caFile)
		}
	}
	if (certFile == "") != (keyFile == "") {
		return nil, errors.New("reading the client certificate: a certificate and its key come together")
	}
	if certFile != "" {
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, fmt.Errorf("reading the client certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// SASLMechanism builds a mechanism by its name in the configuration: none,
// plain, scram-sha-256 or scram-sha-512. It is nil for none.
func SASLMechanism(name, username, password string) (sasl.Mechanism, error) {
	var algorithm scram.Algorithm
	switch name {
	case "", "none":
		return nil, nil //nolint:nilnil // No mechanism is what was asked for, and what kafka-go takes for none.
	case "plain":
		return plain.Mechanism{Username: username, Password: password}, nil
	case "scram-sha-256":
		algorithm = scram.SHA256
	case "scram-sha-512":
		algorithm = scram.SHA512
	default:
		return nil, fmt.Errorf("choosing the SASL mechanism: %q is not known; use none, plain, scram-sha-256 or scram-sha-512", name)
	}
	mechanism, err := scram.Mechanism(algorithm, username, password)
	if err != nil {
		// The cause may quote the user name or password that it cannot prepare.
		return nil, errors.New("preparing the SASL user name and password: SCRAM does not allow one of their characters")
	}
	return mechanism, nil
}
