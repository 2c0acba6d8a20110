package tcp

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// secureSocket is a socket with TLS above it. Waiting happens below: for bytes to read without a buffer, for the client
// to take an answer with an eye on what it takes, and both without an error that TLS would not survive.
type secureSocket struct {
	socket // the one of the system, which reads through this one's Read
	tls    *tls.Conn
	below  *transport
	broken atomic.Bool // nothing more can be said
}

var _ socket = (*secureSocket)(nil)

// transport is what TLS reads from and writes to: the connection, first as it is, then as reader and writer use it.
type transport struct {
	net.Conn
	out   *writer                     // nil during the handshake
	above *writer                     // that of the answers, which come down encrypted
	read  func(p []byte) (int, error) // does not wait; nil during the handshake, and where a socket can't
}

var (
	errTLS    = errors.New("TLS is broken")
	errCutOff = errors.New("the client closed without close_notify")
)

func (t *transport) Read(p []byte) (n int, err error) {
	if t.read == nil {
		n, err = t.Conn.Read(p)
	} else {
		n, err = t.read(p)
	}
	if t.out != nil && errors.Is(err, io.EOF) {
		return n, errCutOff // which TLS does not tell from a goodbye
	}
	return n, err
}

func (t *transport) Write(p []byte) (int, error) {
	if t.out == nil {
		return t.Conn.Write(p)
	}
	t.out.until = t.above.until
	if err := t.out.writeAll(p, false); err != nil {
		return 0, err
	}
	return len(p), nil
}

// SetWriteDeadline is called by TLS before and after close_notify. Deadlines are the connection's business.
func (t *transport) SetWriteDeadline(time.Time) error { return nil }

// handshake makes the connection one with TLS.
func (c *connection) handshake(config *tls.Config) error {
	below := &transport{Conn: c.conn}
	conn := tls.Server(below, config)
	if err := conn.Handshake(); err != nil {
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			c.linger = lingerTime // the alert that says why should arrive
		}
		return err
	}

	below.out, below.above = c.answers.below(), &c.answers
	c.secure = &secureSocket{tls: conn, below: below}
	c.secure.socket = through(c.packets.socket, c.secure)
	c.packets.socket, c.answers.socket = c.secure, c.secure
	c.contexts.tls = tlsContext(conn.ConnectionState())
	c.linger = lingerTime // something was written
	return nil
}

// Read reads what is decrypted. The client is to blame for every error that is none of waiting.
func (s *secureSocket) Read(p []byte) (int, error) {
	n, err := s.tls.Read(p)
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		if n > 0 {
			err = nil // half an alert has come behind what was read
		}
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, errCutOff):
		s.broken.Store(true)
		err = fmt.Errorf("%w: %w", errTLS, err)
	}
	return n, err
}

// writeNow writes all of it: what waits does so below.
func (s *secureSocket) writeNow(p []byte, _ bool) (int, error) {
	n, err := s.tls.Write(p)
	if err != nil {
		s.broken.Store(true)
	}
	return n, err
}

// sayGoodbye sends close_notify. The last record waits for the client as those before it did, but in a hurry only as long
// as it takes to see that there is room.
func (s *secureSocket) sayGoodbye(hurry bool) {
	if s.broken.Load() {
		return // half a record is out, or an alert
	}
	if hurry {
		s.below.out.timeout = idleLinger
	}
	_ = s.tls.CloseWrite()
}

// tlsContext is what CONNECTED says of a handshake.
func tlsContext(state tls.ConnectionState) string {
	type client struct {
		Subject     string   `json:"subject"`
		SANs        []string `json:"sans"`
		Fingerprint string   `json:"fingerprint"` // SHA-256 of the certificate
	}
	context := struct {
		Version    string  `json:"version"`
		Cipher     string  `json:"cipher"`
		ServerName string  `json:"server_name"`
		Client     *client `json:"client,omitempty"`
	}{Cipher: tls.CipherSuiteName(state.CipherSuite), ServerName: state.ServerName}
	for name, version := range tlsVersions {
		if version == state.Version {
			context.Version = name
		}
	}
	if len(state.PeerCertificates) > 0 {
		cert := state.PeerCertificates[0]
		sum := sha256.Sum256(cert.Raw)
		context.Client = &client{cert.Subject.String(), sansOf(cert), hex.EncodeToString(sum[:])}
	}
	b, _ := json.Marshal(context) // texts can't fail
	return `,"tls":` + string(b)
}

func sansOf(cert *x509.Certificate) []string {
	sans := append([]string{}, cert.DNSNames...)
	sans = append(sans, cert.EmailAddresses...)
	for _, ip := range cert.IPAddresses {
		sans = append(sans, ip.String())
	}
	for _, uri := range cert.URIs {
		sans = append(sans, uri.String())
	}
	return sans
}
