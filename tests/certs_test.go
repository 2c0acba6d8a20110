package tests

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// authority issues certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

var serials atomic.Int64

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.pem, a.key = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

// sign signs with the authority's key, or with the certificate's own where it has none yet.
func (a *authority) sign(template *x509.Certificate) (*x509.Certificate, []byte, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	template.SerialNumber = big.NewInt(serials.Add(1))
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	require.NoError(a.t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(a.t, err)
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key
}

// issued is a certificate with its key, in PEM.
type issued struct {
	cert     *x509.Certificate
	pem, key []byte
}

// server issues a certificate for names and addresses.
func (a *authority) server(names ...string) issued {
	a.t.Helper()
	template := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return a.issue(template)
}

// client issues a certificate that has lived for an hour and still will for left.
func (a *authority) client(name string, left time.Duration) issued {
	a.t.Helper()
	return a.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: name, Organization: []string{"Clients"}}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		DNSNames: []string{name}, EmailAddresses: []string{name + "@example.org"}, URIs: []*url.URL{{Scheme: "spiffe", Host: name}},
		IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(left),
	})
}

func (a *authority) issue(template *x509.Certificate) issued {
	a.t.Helper()
	cert, certPEM, key := a.sign(template)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(a.t, err)
	return issued{cert, certPEM, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})}
}

// save writes the certificate and its key to files that the plugin finds as DIR/NAME.pem and DIR/NAME.key.
func (i issued) save(t *testing.T, dir, name string) {
	t.Helper()
	save(t, dir+"/"+name+".pem", i.pem)
	save(t, dir+"/"+name+".key", i.key)
}

// trust is a client's configuration for a server of the name.
func (a *authority) trust(name string, own ...issued) *tls.Config {
	a.t.Helper()
	pool := x509.NewCertPool()
	require.True(a.t, pool.AppendCertsFromPEM(a.pem))
	config := &tls.Config{RootCAs: pool, ServerName: name}
	for _, i := range own {
		cert, err := tls.X509KeyPair(i.pem, i.key)
		require.NoError(a.t, err)
		config.Certificates = append(config.Certificates, cert)
	}
	return config
}

// pair puts a certificate and its key into one file, as HAProxy wants them.
func (i issued) pair() []byte { return bytes.Join([][]byte{i.pem, i.key}, nil) }

// startTLS is start with a certificate for localhost in DIR/server.pem; more may write others before.
func startTLS(t *testing.T, ca *authority, yaml string, more func(dir string), worker ...string) *host {
	t.Helper()
	return newHost(t, shortDir(t)).serveTLS(ca, yaml, more, worker...)
}

func (h *host) serveTLS(ca *authority, yaml string, more func(dir string), worker ...string) *host {
	h.t.Helper()
	ca.server("localhost", "127.0.0.1").save(h.t, h.dir, "server")
	save(h.t, h.dir+"/ca.pem", ca.pem)
	if more != nil {
		more(h.dir)
	}
	return h.serve(yaml, worker...)
}

// dialTLS makes a connection and its handshake.
func (h *host) dialTLS(server string, config *tls.Config) *client {
	h.t.Helper()
	c := h.dial(server)
	secure := tls.Client(c.Conn, config)
	require.NoError(h.t, secure.Handshake())
	over := clientOf(h.t, secure)
	over.server = server
	return over
}
