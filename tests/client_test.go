package tests

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// client is the other end of a connection.
type client struct {
	t *testing.T
	net.Conn
	r      *bufio.Reader
	server string
}

func (h *host) dial(server string) *client {
	h.t.Helper()
	return h.dialFrom(h.t, server)
}

// dialFrom is dial from a part of the host's test.
func (h *host) dialFrom(t *testing.T, server string) *client {
	t.Helper()
	c := dial(t, h.addr(server).Network(), h.addr(server).String())
	c.server = server
	return c
}

func dial(t *testing.T, network, address string) *client {
	t.Helper()
	conn, err := net.DialTimeout(network, address, patience)
	require.NoError(t, err)
	return clientOf(t, conn)
}

// clientOf closes the connection when the test ends.
func clientOf(t *testing.T, conn net.Conn) *client {
	t.Helper()
	t.Cleanup(func() { _ = conn.Close() })
	c := &client{t: t, Conn: conn, r: bufio.NewReader(conn)}
	c.wait()
	return c
}

// wait gives whoever uses the connection next their patience.
func (c *client) wait() { _ = c.SetDeadline(time.Now().Add(patience)) }

// send sends a packet.
func (c *client) send(packet string) {
	c.t.Helper()
	c.wait()
	_, err := io.WriteString(c, packet+"\r\n")
	require.NoError(c.t, err)
}

// receive waits for a line.
func (c *client) receive() string {
	c.t.Helper()
	c.wait()
	line, err := c.r.ReadString('\n')
	require.NoError(c.t, err, "after %q", line)
	return strings.TrimSuffix(line, "\r\n")
}

func (c *client) ask(packet string) string {
	c.t.Helper()
	c.send(packet)
	return c.receive()
}

// rest is all that still comes before the server closes.
func (c *client) rest() string {
	c.t.Helper()
	c.wait()
	rest, err := io.ReadAll(c.r)
	require.NoError(c.t, err)
	return string(rest)
}

// requireEnd fails unless the server closes the connection without another byte. A reset will do where the client had
// sent what nobody read.
func (c *client) requireEnd() {
	c.t.Helper()
	c.wait()
	rest, err := io.ReadAll(c.r)
	if !errors.Is(err, syscall.ECONNRESET) {
		require.NoError(c.t, err)
	}
	require.Empty(c.t, string(rest))
}

func (c *client) closeWrite() {
	c.t.Helper()
	require.NoError(c.t, c.Conn.(interface{ CloseWrite() error }).CloseWrite())
}

// reset closes with a RST.
func (c *client) reset() {
	c.t.Helper()
	require.NoError(c.t, c.Conn.(*net.TCPConn).SetLinger(0))
	require.NoError(c.t, c.Close())
}

// awaitRead waits until the server has read all that was sent.
func (c *client) awaitRead() {
	c.t.Helper()
	eventually(c.t, "all that was sent is read", c.isRead)
}

// isRead reports whether nothing is left in the send queue of the client and in the receive queue of the server. False,
// too, if the server has closed.
func (c *client) isRead() bool {
	c.t.Helper()
	own, open := socketOf(c.t, c.LocalAddr(), c.RemoteAddr())
	server, served := socketOf(c.t, c.RemoteAddr(), c.LocalAddr())
	return open && served && own.unsent == 0 && server.unread == 0
}

// gate is where workers wait until the test lets them answer.
type gate struct {
	t *testing.T
	l *net.UnixListener
}

// newGate makes the gate for the worker argument gate=PATH.
func newGate(t *testing.T) (gate, string) {
	t.Helper()
	path := shortDir(t) + "/gate"
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return gate{t, l.(*net.UnixListener)}, "gate=" + path
}

// visit is a worker at the gate.
type visit struct {
	event, uuid, reason string
	pid                 int
	conn                net.Conn
}

// next waits for a worker to come.
func (g gate) next() *visit {
	g.t.Helper()
	require.NoError(g.t, g.l.SetDeadline(time.Now().Add(patience)))
	conn, err := g.l.Accept()
	require.NoError(g.t, err, "no worker comes to the gate")
	g.t.Cleanup(func() { _ = conn.Close() })
	require.NoError(g.t, conn.SetDeadline(time.Now().Add(patience)))
	v := &visit{conn: conn}
	_, err = fmt.Fscanf(conn, "%d %s %s %s\n", &v.pid, &v.event, &v.uuid, &v.reason)
	require.NoError(g.t, err)
	return v
}

// release lets the worker answer.
func (v *visit) release() { _ = v.conn.Close() }
