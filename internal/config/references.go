package config

import (
	"crypto/tls"
	"crypto/x509"
)

// checkReferences follows every reference of the file: the secrets have to
// resolve, and the files to be what they are named for.
func (c *Config) checkReferences(from Source) Problems {
	var found Problems
	check := func(path string, s Secret) {
		if _, err := s.Resolve(); err != nil {
			found = append(found, c.file.problem(path, err.Error(), "set it for this process, or correct the reference"))
		}
	}
	check("kafka.sasl.username", c.Kafka.SASL.Username)
	check("kafka.sasl.password", c.Kafka.SASL.Password)
	for i, t := range c.Targets {
		check(join(c.owners[i], "partner_api_key"), t.PartnerAPIKey)
		check(join(c.owners[i], "api_key"), t.APIKey)
	}
	if c.Kafka.TLS.Enabled {
		found = append(found, c.checkTLSFiles(from)...)
	}
	return found
}

func (c *Config) checkTLSFiles(from Source) Problems {
	var found Problems
	read := func(key, path string) []byte {
		if path == "" {
			return nil
		}
		data, err := from.ReadFile(path)
		if err != nil {
			found = append(found, c.file.problem("kafka.tls."+key, "cannot be read: "+err.Error(), "correct the path, or let this process read it"))
		}
		return data
	}
	files := c.Kafka.TLS
	if ca := read("ca_file", files.CAFile); ca != nil && !x509.NewCertPool().AppendCertsFromPEM(ca) {
		found = append(found, c.file.problem("kafka.tls.ca_file", "holds no certificate in PEM form", wantFile))
	}
	cert, key := read("cert_file", files.CertFile), read("key_file", files.KeyFile)
	if cert == nil || key == nil {
		return found
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		found = append(found, c.file.problem("kafka.tls.cert_file", "does not go with key_file: "+err.Error(), "want a certificate and its key, each in PEM form"))
	}
	return found
}
