package server

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net"
	"time"

	"github.com/rrtcp/tcp/internal/proxyheader"
	"github.com/rrtcp/tcp/internal/settings"
	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/telemetry"
	"github.com/rrtcp/tcp/internal/wire"
)

var errTooManyPerIP = errors.New("the client's address has max_connections_per_ip open")

// hasPreamble reports whether something comes before CONNECTED: a PROXY header, a TLS handshake.
func (c *connection) hasPreamble() bool { return c.isProxied || c.beginsWithTLS() }

// isProxied reports whether connections from there begin with a PROXY header.
func (l *listener) isProxied(from net.Addr) bool {
	return l.proxyProtocol != nil && (!l.proxyProtocol.ServesOthers() || l.proxyProtocol.Trusts(from))
}

func (l *listener) beginsWithTLS() bool { return l.tls != nil && !l.tls.StartsPlain() }

// preamble reports whether the connection may go on to CONNECTED. If not, no worker is told of it.
func (c *connection) preamble() bool {
	refusal, err := c.readPreamble()
	c.setReadDeadline(time.Time{})
	c.setWriteDeadline(time.Time{})
	if err == nil { // else nothing may be pushed: it would go out in plain text
		c.opening.Store(c.settings.ConnectedOnFirstByte)
	}
	if interrupted := c.interruption(); interrupted != wire.ReasonNone {
		c.end(interrupted, nil)
	} else if err != nil {
		c.stats.Refused(refusal)
		c.end(handshakeReason(err), err)
	}
	return c.reason == wire.ReasonNone
}

func handshakeReason(err error) wire.Reason {
	if errors.Is(err, stream.ErrMemory) {
		return wire.ReasonMemory
	}
	return wire.ReasonHandshake
}

// readPreamble returns with an error the cause that metrics count.
func (c *connection) readPreamble() (telemetry.Refusal, error) {
	if c.isProxied {
		if refusal, err := c.readProxyHeader(); err != nil {
			return refusal, err
		}
	}
	if c.beginsWithTLS() {
		return telemetry.RefusedTLS, c.handshake()
	}
	return 0, nil
}

func (c *connection) readProxyHeader() (telemetry.Refusal, error) {
	c.setDeadlineIn(*c.proxyProtocol.Timeout)
	header, err := proxyheader.Read(c.conn)
	if err != nil {
		return telemetry.RefusedProxy, err
	}
	if header.Client != nil {
		c.remote = header.Client
		c.contexts = c.newContexts(header.Client, c.uuid)
		if err := c.agree(wire.Beginning{Proxy: header.Info.JSON()}); err != nil {
			return telemetry.RefusedProxy, err
		}
	}
	if c.countedByIP = c.byIP.acquire(c.remote); !c.countedByIP {
		c.overIP.Add()
		return telemetry.RefusedPerIP, errTooManyPerIP
	}
	return 0, nil
}

func (c *connection) handshake() error {
	limit := *c.tls.HandshakeTimeout
	c.setDeadlineIn(limit)
	begun := time.Now()
	expired := func() bool { return c.isCalledOff() || limit > 0 && time.Since(begun) >= limit }
	secure, err := stream.Handshake(c.conn, c.certificates.config(), &c.reader, &c.writer, c.turns, expired)
	if err != nil {
		var timeout net.Error
		if !errors.Is(err, stream.ErrMemory) && (!errors.As(err, &timeout) || !timeout.Timeout()) {
			c.linger = maxLinger // the alert that says why should arrive
		}
		return handshakeError{err}
	}
	c.secure = secure
	agreed := c.takeAgreed()
	agreed.TLS = tlsInfo(secure.ConnectionState())
	if err := c.agree(agreed); err != nil {
		return err
	}
	c.linger = maxLinger // something was written
	return nil
}

// agree notes what the preamble, or a handshake, has for the event that follows it. It has texts of the client's, tens of KB if that
// wants, so it counts as memory until that event is over.
func (c *connection) agree(b wire.Beginning) error {
	const overhead = 2 // on the heap as much again until the next garbage collection
	more := overhead*(len(b.TLS)+len(b.Proxy)) - c.agreedSize
	if !c.memory.Take(more, c.reader.Held()+c.reader.Extra()+c.agreedSize) {
		return stream.ErrMemory
	}
	c.agreed, c.agreedSize = &b, c.agreedSize+more
	return nil
}

func (c *connection) releaseAgreed() {
	c.memory.Give(c.agreedSize)
	c.agreedSize = 0
}

// handshakeError is an error of package tls. Some quote certificates that can't be used, with names of the client's choice and length.
type handshakeError struct{ error }

func (e handshakeError) Error() string { return telemetry.ErrorText(e.error) }
func (e handshakeError) Unwrap() error { return e.error }

// takeAgreed returns what the preamble, or a handshake, has for the event that follows it.
func (c *connection) takeAgreed() (b wire.Beginning) {
	if c.agreed != nil {
		b, c.agreed = *c.agreed, nil
	}
	return b
}

// setDeadlineIn sets both deadlines of the preamble; 0 is none. One in the past that drain or abort has set stays.
func (c *connection) setDeadlineIn(d time.Duration) {
	t := time.Time{}
	if d > 0 {
		t = time.Now().Add(d)
	}
	_ = c.conn.SetDeadline(t)
	if c.isCalledOff() {
		_ = c.conn.SetDeadline(aLongTimeAgo)
	}
}

// tlsInfo is the key tls of CONNECTED, as JSON.
func tlsInfo(state tls.ConnectionState) []byte {
	type client struct {
		Subject     string   `json:"subject"`
		SANs        []string `json:"sans"`
		Fingerprint string   `json:"fingerprint"` // SHA-256 of the certificate
	}
	info := struct {
		Version    string  `json:"version"`
		Cipher     string  `json:"cipher"`
		ServerName string  `json:"server_name"`
		Client     *client `json:"client,omitempty"`
	}{
		Version: settings.TLSVersionName(state.Version), Cipher: tls.CipherSuiteName(state.CipherSuite), ServerName: state.ServerName,
	}
	if len(state.PeerCertificates) > 0 {
		certificate := state.PeerCertificates[0]
		sum := sha256.Sum256(certificate.Raw)
		info.Client = &client{certificate.Subject.String(), subjectAltNames(certificate), hex.EncodeToString(sum[:])}
	}
	b, _ := json.Marshal(info) // strings can't fail
	return b
}

func subjectAltNames(certificate *x509.Certificate) []string {
	names := append([]string{}, certificate.DNSNames...)
	names = append(names, certificate.EmailAddresses...)
	for _, ip := range certificate.IPAddresses {
		names = append(names, ip.String())
	}
	for _, uri := range certificate.URIs {
		names = append(names, uri.String())
	}
	return names
}
