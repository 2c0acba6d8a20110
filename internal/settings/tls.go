package settings

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"time"
)

// TLS is the section tls of a server. All files are in PEM.
type TLS struct {
	KeyPair `mapstructure:",squash"`
	// Certs are more certificates. The client's server name (SNI) chooses among them and the one above; where none fits,
	// it is the first.
	Certs []KeyPair `mapstructure:"certs"`
	// RootCA is the file of the authorities that client certificates are verified by. Those of the system are not used.
	RootCA string `mapstructure:"root_ca"`
	// ClientAuthType is one of clientAuthTypes; with RootCA require_and_verify_client_cert by default, without it
	// no_client_cert.
	ClientAuthType string `mapstructure:"client_auth_type"`
	// MinVersion is "1.2" (the default) or "1.3"; "1.0" or "1.1" for old devices.
	MinVersion string `mapstructure:"min_version"`
	// CipherSuites are those of TLS 1.2 and below, by their IANA names; nil: those that Go takes for secure.
	CipherSuites []string `mapstructure:"cipher_suites"`
	// Start is "tls" (the default), or "plain": the connections begin without TLS, and a reply asks for it (STARTTLS).
	Start string `mapstructure:"start"`
	// HandshakeTimeout is how long a handshake may take; 10 s by default, 0 is no limit.
	HandshakeTimeout *time.Duration `mapstructure:"handshake_timeout"`

	loaded *LoadedTLS // set by check
}

// KeyPair has the file of a certificate, with the intermediate ones behind it, and the file of its private key.
type KeyPair struct {
	Cert string `mapstructure:"cert"`
	Key  string `mapstructure:"key"`
}

const defaultHandshakeTimeout = 10 * time.Second

// clientAuthTypes are the names that RoadRunner's plugins accept. Their documents spell the first one no_client_certs.
var clientAuthTypes = map[string]tls.ClientAuthType{
	"no_client_cert":                 tls.NoClientCert,
	"no_client_certs":                tls.NoClientCert,
	"request_client_cert":            tls.RequestClientCert,
	"require_any_client_cert":        tls.RequireAnyClientCert,
	"verify_client_cert_if_given":    tls.VerifyClientCertIfGiven,
	"require_and_verify_client_cert": tls.RequireAndVerifyClientCert,
}

var tlsVersions = map[string]uint16{"1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// TLSVersionName returns a version of package tls as min_version has it; empty for one that min_version does not know.
func TLSVersionName(version uint16) string {
	for name, v := range tlsVersions {
		if v == version {
			return name
		}
	}
	return ""
}

// check fills in the defaults, reads the files and returns every mistake; key is the section's.
func (t *TLS) check(key string) (errs []error) {
	errs = append(errs, t.checkClientAuth(key))

	if t.MinVersion == "" {
		t.MinVersion = "1.2"
	}
	if tlsVersions[t.MinVersion] == 0 {
		errs = append(errs, fmt.Errorf("%s.min_version: unknown version %q; want one of %q, in quotes",
			key, t.MinVersion, SortedKeys(tlsVersions)))
	}

	setDefault(&t.HandshakeTimeout, defaultHandshakeTimeout)
	errs = append(errs, checkDuration(key+".handshake_timeout", *t.HandshakeTimeout))

	errs = append(errs, checkOneOf(key+".start", &t.Start, "tls", "plain"))
	errs = append(errs, t.checkSuites(key)...)
	loaded, loadErrs := t.Load(key)
	t.loaded = loaded
	return append(append(errs, loadErrs...), t.checkSuitesFit(key, loaded.Config.Certificates))
}

func (t *TLS) checkClientAuth(key string) error {
	if t.ClientAuthType == "" {
		t.ClientAuthType = "no_client_cert"
		if t.RootCA != "" {
			t.ClientAuthType = "require_and_verify_client_cert"
		}
	}
	auth, ok := clientAuthTypes[t.ClientAuthType]
	switch {
	case !ok:
		return fmt.Errorf("%s.client_auth_type: unknown type %q; want one of %q",
			key, t.ClientAuthType, SortedKeys(clientAuthTypes))
	case auth >= tls.VerifyClientCertIfGiven && t.RootCA == "":
		return fmt.Errorf("%s.root_ca: is empty; %s wants the file of the authorities that clients are verified by",
			key, t.ClientAuthType)
	}
	return nil
}

// StartsPlain reports whether connections begin without TLS.
func (t *TLS) StartsPlain() bool { return t.Start == "plain" }

// pairs returns the certificates and their keys in the configuration, in order.
func (t *TLS) pairs(key string) (keys []string, pairs []KeyPair) {
	if t.KeyPair != (KeyPair{}) || len(t.Certs) == 0 {
		keys, pairs = []string{key}, []KeyPair{t.KeyPair}
	}
	for i, pair := range t.Certs {
		keys, pairs = append(keys, fmt.Sprintf("%s.certs.%d", key, i)), append(pairs, pair)
	}
	return keys, pairs
}

// Files returns the files that Load reads.
func (t *TLS) Files() (files []string) {
	_, pairs := t.pairs("")
	for _, pair := range pairs {
		files = append(files, pair.Cert, pair.Key)
	}
	if t.RootCA != "" {
		files = append(files, t.RootCA)
	}
	return files
}

// LoadedTLS has the content of the files.
type LoadedTLS struct {
	Config *tls.Config
	Sum    [sha256.Size]byte // of the files' bytes
}

// Loaded returns what Check has read.
func (t *TLS) Loaded() *LoadedTLS { return t.loaded }

// Load reads the files; key is the section's. Each result has keys of its own for session tickets, so that no session is
// resumed that an older root_ca has let in.
func (t *TLS) Load(key string) (*LoadedTLS, []error) {
	r := newPEMReader()
	config := &tls.Config{
		MinVersion: tlsVersions[t.MinVersion], CipherSuites: t.suiteIDs(), ClientAuth: clientAuthTypes[t.ClientAuthType],
	}
	keys, pairs := t.pairs(key)
	for i, pair := range pairs {
		if cert, ok := r.certificate(keys[i], pair); ok {
			config.Certificates = append(config.Certificates, cert)
		}
	}
	config.ClientCAs = r.authorities(key+".root_ca", t.RootCA)
	return &LoadedTLS{config, [sha256.Size]byte(r.sum.Sum(nil))}, r.errs
}
