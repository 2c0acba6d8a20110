package tcp

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// TLS is the section tls of a server. All files are in PEM.
type TLS struct {
	KeyPair `mapstructure:",squash"`
	// Certs are more certificates. The client's server name (SNI) chooses among them and the one above; where none fits,
	// it is the first.
	Certs []KeyPair `mapstructure:"certs"`
	// RootCA are the authorities whose client certificates are good. Those of the system are not.
	RootCA string `mapstructure:"root_ca"`
	// ClientAuthType is one of clientAuthTypes; with RootCA require_and_verify_client_cert by default, without it
	// no_client_cert.
	ClientAuthType string `mapstructure:"client_auth_type"`
	// MinVersion is "1.2" (the default) or "1.3".
	MinVersion string `mapstructure:"min_version"`
	// HandshakeTimeout is how long a handshake may take; 10 s by default, 0 is no limit.
	HandshakeTimeout *time.Duration `mapstructure:"handshake_timeout"`

	loaded *loadedTLS
}

// KeyPair are the files of a certificate, with the ones between it and its root behind it, and of its private key.
type KeyPair struct {
	Cert string `mapstructure:"cert"`
	Key  string `mapstructure:"key"`
}

const defaultHandshakeTimeout = 10 * time.Second

// clientAuthTypes are the names that RoadRunner's plugins know, and what stands in their documents for the first.
var clientAuthTypes = map[string]tls.ClientAuthType{
	"no_client_cert":                 tls.NoClientCert,
	"no_client_certs":                tls.NoClientCert,
	"request_client_cert":            tls.RequestClientCert,
	"require_any_client_cert":        tls.RequireAnyClientCert,
	"verify_client_cert_if_given":    tls.VerifyClientCertIfGiven,
	"require_and_verify_client_cert": tls.RequireAndVerifyClientCert,
}

var tlsVersions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// init fills in the defaults, reads the files and reports every mistake; key is the section's.
func (t *TLS) init(key string) (errs []error) {
	if t.ClientAuthType == "" {
		t.ClientAuthType = "no_client_cert"
		if t.RootCA != "" {
			t.ClientAuthType = "require_and_verify_client_cert"
		}
	}
	auth, ok := clientAuthTypes[t.ClientAuthType]
	switch {
	case !ok:
		errs = append(errs, fmt.Errorf("%s.client_auth_type: unknown type %q; want one of %q",
			key, t.ClientAuthType, sortedKeys(clientAuthTypes)))
	case auth >= tls.VerifyClientCertIfGiven && t.RootCA == "":
		errs = append(errs, fmt.Errorf("%s.root_ca: is empty; %s wants the file of the authorities that clients are verified by",
			key, t.ClientAuthType))
	}

	if t.MinVersion == "" {
		t.MinVersion = "1.2"
	}
	if tlsVersions[t.MinVersion] == 0 {
		errs = append(errs, fmt.Errorf("%s.min_version: unknown version %q; want one of %q",
			key, t.MinVersion, sortedKeys(tlsVersions)))
	}

	if t.HandshakeTimeout == nil {
		t.HandshakeTimeout = new(time.Duration)
		*t.HandshakeTimeout = defaultHandshakeTimeout
	}
	errs = append(errs, notNegativeDuration(key+".handshake_timeout", *t.HandshakeTimeout))

	loaded, err := t.load(key)
	t.loaded = loaded
	return append(errs, err...)
}

// pairs are the certificates by their keys in the configuration, in order.
func (t *TLS) pairs(key string) (keys []string, pairs []KeyPair) {
	if t.KeyPair != (KeyPair{}) || len(t.Certs) == 0 {
		keys, pairs = []string{key}, []KeyPair{t.KeyPair}
	}
	for i, pair := range t.Certs {
		keys, pairs = append(keys, fmt.Sprintf("%s.certs.%d", key, i)), append(pairs, pair)
	}
	return keys, pairs
}

func (t *TLS) files() (files []string) {
	_, pairs := t.pairs("")
	for _, pair := range pairs {
		files = append(files, pair.Cert, pair.Key)
	}
	if t.RootCA != "" {
		files = append(files, t.RootCA)
	}
	return files
}

// loadedTLS is what the files say.
type loadedTLS struct {
	config *tls.Config
	sum    [sha256.Size]byte // of the files' bytes
}

// load reads the files. Each time there are new keys for session tickets: nobody resumes what an older root_ca let in.
func (t *TLS) load(key string) (*loadedTLS, []error) {
	var errs []error
	sum := sha256.New()
	read := func(key, file string) []byte {
		b, err := readPEM(file)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
		}
		fmt.Fprintf(sum, "%d %s", len(b), b)
		return b
	}

	config := &tls.Config{MinVersion: tlsVersions[t.MinVersion], ClientAuth: clientAuthTypes[t.ClientAuthType]}
	keys, pairs := t.pairs(key)
	for i, pair := range pairs {
		certPEM, keyPEM := read(keys[i]+".cert", pair.Cert), read(keys[i]+".key", pair.Key)
		if certPEM == nil || keyPEM == nil {
			continue
		}
		cert, err := keyPair(certPEM, keyPEM)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s.%w", keys[i], err))
		}
		config.Certificates = append(config.Certificates, cert)
	}
	if t.RootCA != "" {
		config.ClientCAs = x509.NewCertPool()
		if b := read(key+".root_ca", t.RootCA); b != nil && !config.ClientCAs.AppendCertsFromPEM(b) {
			errs = append(errs, fmt.Errorf("%s.root_ca: %s holds no certificate in PEM", key, t.RootCA))
		}
	}
	return &loadedTLS{config, [sha256.Size]byte(sum.Sum(nil))}, errs
}

func readPEM(file string) ([]byte, error) {
	if file == "" {
		return nil, errors.New("is empty; want the path of a file in PEM")
	}
	b, err := os.ReadFile(file)
	if err == nil && !bytes.Contains(b, []byte("-----BEGIN ")) {
		return nil, fmt.Errorf("%s is no file in PEM", file)
	}
	return b, err
}

// keyPair's errors begin with the key that they are about.
func keyPair(certPEM, keyPEM []byte) (tls.Certificate, error) {
	var leaf *x509.Certificate
	for rest := certPEM; leaf == nil; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return tls.Certificate{}, errors.New("cert: holds no certificate in PEM")
		}
		if block.Type == "CERTIFICATE" {
			var err error
			if leaf, err = x509.ParseCertificate(block.Bytes); err != nil {
				return tls.Certificate{}, fmt.Errorf("cert: %w", err)
			}
		}
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("key: %w; want the private key that belongs to cert, not encrypted", err)
	}
	cert.Leaf = leaf
	return cert, nil
}

// certificates are the files of a server as they are on disk, looked at while handshakes happen.
type certificates struct {
	tls    *TLS
	key    string // of the section
	server string
	log    *zap.Logger

	current atomic.Pointer[loadedTLS]

	mu     sync.Mutex // one looks at a time; nobody waits for it but Reset
	looked time.Time
	seen   []os.FileInfo // when they were read last; nil: they may have changed since without showing it
	wrong  string        // what was logged last
}

const (
	lookAgain = time.Second
	// settled is how old a file must be for its time to tell it from what it is written over with.
	settled = 2 * time.Second
)

func newCertificates(server string, t *TLS, log *zap.Logger) *certificates {
	c := &certificates{tls: t, key: "tcp.servers." + server + ".tls", server: server, log: log}
	c.current.Store(t.loaded)
	return c
}

// config is the one for a handshake that begins.
func (c *certificates) config() *tls.Config {
	if c.mu.TryLock() {
		if time.Since(c.looked) >= lookAgain {
			c.look()
		}
		c.mu.Unlock()
	}
	return c.current.Load().config
}

// renew takes what has changed, now.
func (c *certificates) renew() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look()
}

// look takes files that have changed. What is broken changes nothing and is logged once.
func (c *certificates) look() {
	c.looked = time.Now()
	infos, old := statAll(c.tls.files())
	if slices.EqualFunc(infos, c.seen, isSameFile) {
		return
	}
	c.seen = infos
	if old < settled {
		c.seen = nil
	}

	loaded, errs := c.tls.load(c.key)
	if err := errors.Join(errs...); err != nil {
		if err.Error() != c.wrong {
			c.wrong = err.Error()
			c.log.Error("changed certificates can't be used; the ones before stay",
				zap.String("server", c.server), zap.Error(err))
		}
		return
	}
	c.wrong = ""
	if loaded.sum != c.current.Load().sum {
		c.current.Store(loaded)
		c.log.Info("certificates are renewed", zap.String("server", c.server))
	}
}

// statAll also says how old the newest is. What is not there is nil.
func statAll(files []string) (infos []os.FileInfo, old time.Duration) {
	old = settled
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			infos = append(infos, nil)
			continue
		}
		infos, old = append(infos, info), min(old, time.Since(info.ModTime()))
	}
	return infos, old
}

func isSameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
