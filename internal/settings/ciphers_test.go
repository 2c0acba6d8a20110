package settings

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/certtest"
)

// rsaPair writes a certificate for an RSA key, as old devices want it.
func rsaPair(t *testing.T) KeyPair {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	dir := t.TempDir()
	p := KeyPair{filepath.Join(dir, "rsa.pem"), filepath.Join(dir, "rsa.key")}
	require.NoError(t, os.WriteFile(p.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(p.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	return p
}

const (
	oldSuite  = "TLS_RSA_WITH_AES_128_CBC_SHA"
	goodSuite = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
)

func TestCipherSuites(t *testing.T) {
	rsa, ecdsa := rsaPair(t), certtest.WritePair(t, t.TempDir(), "ecdsa")
	pair := KeyPair{ecdsa.Cert, ecdsa.Key}
	for name, c := range map[string]struct {
		section  TLS
		want     string // the error; empty: none
		warnings int
	}{
		"none":                  {TLS{KeyPair: pair}, "", 0},
		"an old version":        {TLS{KeyPair: pair, MinVersion: "1.0"}, "", 1},
		"an insecure suite":     {TLS{KeyPair: rsa, CipherSuites: []string{oldSuite}}, "", 1},
		"both":                  {TLS{KeyPair: rsa, MinVersion: "1.0", CipherSuites: []string{oldSuite}}, "", 1},
		"a secure one":          {TLS{KeyPair: pair, CipherSuites: []string{goodSuite}}, "", 0},
		"both certificates":     {TLS{KeyPair: pair, Certs: []KeyPair{rsa}, CipherSuites: []string{oldSuite}}, "", 1},
		"one that OpenSSL has":  {TLS{KeyPair: pair, CipherSuites: []string{"AES128-SHA"}}, `unknown cipher suite "AES128-SHA"; want names as IANA has them`, 0},
		"one in lower case":     {TLS{KeyPair: pair, CipherSuites: []string{"tls_rsa_with_aes_128_cbc_sha"}}, "; the nearest is " + oldSuite, 0},
		"one of TLS 1.3":        {TLS{KeyPair: pair, CipherSuites: []string{"TLS_AES_128_GCM_SHA256"}}, "is one of TLS 1.3", 0},
		"an empty list":         {TLS{KeyPair: pair, CipherSuites: []string{}}, "is empty; want a list of names", 0},
		"beside TLS 1.3":        {TLS{KeyPair: pair, MinVersion: "1.3", CipherSuites: []string{goodSuite}}, "min_version is 1.3; leave it out", 0},
		"none for the version":  {TLS{KeyPair: pair, MinVersion: "1.0", CipherSuites: []string{goodSuite}}, "none of them is for TLS 1.0, which is min_version", 1},
		"another kind of key":   {TLS{KeyPair: pair, CipherSuites: []string{oldSuite}}, "none of them can be used with the certificate, whose key is for ECDSA", 1},
		"another kind of suite": {TLS{KeyPair: rsa, CipherSuites: []string{goodSuite}}, "none of them can be used with the certificate, whose key is for RSA", 0},
	} {
		t.Run(name, func(t *testing.T) {
			section := c.section
			config, err := checked(&Server{Addr: ":0", TLS: &section})
			if c.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, "tcp.servers.a.tls.cipher_suites: ")
				require.ErrorContains(t, err, c.want)
			}
			require.Len(t, config.Warnings(), c.warnings)
		})
	}
	section := TLS{KeyPair: rsa, MinVersion: "1.1", CipherSuites: []string{oldSuite}}
	config, err := checked(&Server{Addr: ":0", TLS: &section})
	require.NoError(t, err)
	require.Equal(t, []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}, section.Loaded().Config.CipherSuites)
	require.Equal(t, []string{"tcp.servers.a.tls: allows TLS 1.1, which RFC 8996 forbids: who sits in between can make newer clients use it, " +
		"and insecure cipher suites: who records connections may come to read them (TLS_RSA_WITH_AES_128_CBC_SHA); " +
		"keep it to a server of its own, for devices that know nothing newer"}, config.Warnings())
}

// A device that knows TLS 1.0 and one old suite is served where both are allowed, and nowhere else.
func TestOldDevices(t *testing.T) {
	pair := rsaPair(t)
	device := &tls.Config{
		InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA},
	}
	for name, c := range map[string]struct {
		section TLS
		ok      bool
	}{
		"by default":           {TLS{KeyPair: pair}, false},
		"with an old version":  {TLS{KeyPair: pair, MinVersion: "1.0"}, false},
		"with the suite":       {TLS{KeyPair: pair, CipherSuites: []string{oldSuite}}, false},
		"with a newer version": {TLS{KeyPair: pair, MinVersion: "1.1", CipherSuites: []string{oldSuite}}, false},
		"with both":            {TLS{KeyPair: pair, MinVersion: "1.0", CipherSuites: []string{oldSuite}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			section := c.section
			_, err := checked(&Server{Addr: ":0", TLS: &section})
			require.NoError(t, err)
			server, client := tcpPair(t)
			go func() {
				defer server.Close()
				_ = tls.Server(server, section.Loaded().Config).Handshake()
			}()
			conn := tls.Client(client, device)
			err = conn.Handshake()
			require.Equal(t, c.ok, err == nil, "%v", err)
			if c.ok {
				require.Equal(t, "1.0", TLSVersionName(conn.ConnectionState().Version))
			}
		})
	}
}

// tcpPair returns both ends of a connection over the loopback.
func tcpPair(t *testing.T) (server, client net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	server, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { server.Close(); client.Close() })
	return server, client
}
