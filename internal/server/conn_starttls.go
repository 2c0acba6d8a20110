package server

import (
	"errors"
	"time"

	"github.com/rrtcp/tcp/internal/wire"
)

var (
	errNoStartTLS   = errors.New("tls: is true, but the server has no section tls with start: plain")
	errIsSecure     = errors.New("tls: is true, but the connection has TLS already")
	errStreamsToTLS = errors.New("tls: is true in an answer of several frames; want one frame, behind which the handshake comes")
)

// canStartTLS reports whether a reply may ask for TLS.
func (c *connection) canStartTLS() bool {
	return c.tls != nil && c.tls.StartsPlain() && c.secure == nil
}

// mayStartTLS returns why the reply that is being decoded may not ask for TLS.
func (c *connection) mayStartTLS() error {
	switch {
	case c.secure != nil:
		return errIsSecure
	case !c.canStartTLS():
		return errNoStartTLS
	case c.more != nil:
		return errStreamsToTLS
	}
	return nil
}

// startTLS makes a handshake in the middle of a connection and hands over SECURED. Nothing that came in plain text behind the packet
// which asked for it is handed over: anybody may have put it there. Pushes wait meanwhile, and are dropped where it fails. One that ends
// the connection takes the place of SECURED.
func (c *connection) startTLS() wire.State {
	c.state.Store(uint32(wire.Securing))
	if c.unwritable != nil {
		return c.endedBy(c.unwritable)
	}
	if err := c.writer.Hold(); err != nil {
		return c.endedBy(err)
	}
	c.reader.Restart()
	err := c.handshake()
	c.startsTLS.Store(false)
	c.setReadDeadline(time.Time{})
	c.setWriteDeadline(time.Time{})
	why := c.interruption()
	if err == nil && !c.isCalledOff() {
		c.writer.Release()
	}
	switch {
	case why != wire.ReasonNone:
		return c.end(why, nil)
	case err != nil:
		return c.end(handshakeReason(err), err)
	}
	defer c.releaseAgreed()
	return c.exchange(wire.Securing, c.contexts.Secured(c.takeAgreed().TLS), nil)
}
