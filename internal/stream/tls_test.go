package stream

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// serverConfig has a self-signed certificate.
func serverConfig(t testing.TB) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"},
		NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Now().AddDate(10, 0, 0), // synctest begins in 2000
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func clientConfig() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// strictConn returns an end of the stream without close_notify as an error, which tls.Conn hides.
type strictConn struct{ net.Conn }

func (c strictConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, io.EOF) {
		err = ErrTruncated
	}
	return n, err
}

func (c strictConn) CloseWrite() error { return c.Conn.(interface{ CloseWrite() error }).CloseWrite() }

// secured is the server's side of a connection with TLS behind its handshake, and its client.
type secured struct {
	*Reader
	*Writer
	socket *SecureSocket
	client *tls.Conn
}

func handshaken(t testing.TB, server, client net.Conn, config *tls.Config) *secured {
	socket := NewSocket(server)
	w, _ := testWriter(server, socket)
	w.Memory, w.SetDeadline = NewMemory(0), func(at time.Time) { server.SetWriteDeadline(at) }
	r := &Reader{ReaderConfig: lines(t, socket)}
	r.Memory = w.Memory
	s := &secured{Reader: r, Writer: w, client: tls.Client(strictConn{client}, config)}
	done := make(chan error)
	go func() { done <- s.client.Handshake() }()
	var err error
	s.socket, err = Handshake(server, serverConfig(t), r, w, nil, never)
	require.NoError(t, err)
	require.NoError(t, <-done)
	require.True(t, s.socket.ConnectionState().HandshakeComplete)
	return s
}
