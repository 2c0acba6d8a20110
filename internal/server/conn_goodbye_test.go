package server

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/wire"
)

// The words survive what the client has sent and nobody has read.
func TestGoodbyeSurvivesUnreadInput(t *testing.T) {
	for _, secure := range []bool{false, true} {
		l := testListener(answers(reply("CONTINUE", "")))
		l.settings.MaxPacketSize = 8
		l.settings.Goodbye = map[wire.Reason][]byte{wire.ReasonTooLong: []byte("552 too long\r\n")}
		if secure {
			l.useTLS(t)
		}
		server, client := tcpPair(t)
		require.NoError(t, client.SetDeadline(time.Now().Add(patience)))
		var conn io.ReadWriter = client
		_, ended := l.serveConn(server)
		if secure {
			conn = tls.Client(client, &tls.Config{InsecureSkipVerify: true})
		}
		_, err := conn.Write(bytes.Repeat([]byte("x"), 48<<10))
		require.NoError(t, err)
		requireEventually(t, func() bool { return l.stats.Sent.Load() > 0 })
		time.Sleep(idleLinger + idleLinger/2) // a reset would be here by now
		got, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Equal(t, "552 too long\r\n", string(got))
		require.NoError(t, client.Close())
		receive(t, ended)
	}
}

// A client that no worker knows of yet is told, too, why the connection ends.
func TestGoodbyeBeforeFirstByte(t *testing.T) {
	l := testListener(answers(reply("CONTINUE", "")))
	l.settings.ConnectedOnFirstByte, l.settings.IdleTimeout = true, time.Millisecond
	l.settings.Goodbye = map[wire.Reason][]byte{wire.ReasonIdle: []byte("421 bye\r\n")}
	server, client := tcpPair(t)
	require.NoError(t, client.SetDeadline(time.Now().Add(patience)))
	c, ended := l.serveConn(server)
	got, err := io.ReadAll(client)
	require.NoError(t, err)
	require.Equal(t, "421 bye\r\n", string(got))
	require.NoError(t, client.Close())
	receive(t, ended)
	require.Equal(t, wire.ReasonIdle, c.reason)
}

// A stop that meets a client which has sent nothing does not take its goodbye away.
func TestGoodbyeOfStopBeforeFirstByte(t *testing.T) {
	l := testListener(answers(reply("CONTINUE", "")))
	l.settings.ConnectedOnFirstByte, l.settings.IdleTimeout = true, 0
	l.settings.Goodbye = map[wire.Reason][]byte{wire.ReasonShutdown: []byte("421 stop\r\n")}
	server, client := tcpPair(t)
	require.NoError(t, client.SetDeadline(time.Now().Add(patience)))
	conn := &lateDeadline{TCPConn: server.(*net.TCPConn), woken: make(chan struct{}), drained: make(chan struct{})}
	c, ended := l.serveConn(conn)
	c.drain(wire.ReasonShutdown)
	got, err := io.ReadAll(client)
	require.NoError(t, err)
	require.Equal(t, "421 stop\r\n", string(got))
	require.NoError(t, client.Close())
	receive(t, ended)
}

// lateDeadline lets a read deadline in the past wake the connection's goroutine before drain goes on.
type lateDeadline struct {
	*net.TCPConn
	once    sync.Once
	woken   chan struct{} // closed when the goroutine has reset the write deadline
	drained chan struct{} // closed when drain has set it in the past
}

func (c *lateDeadline) SetReadDeadline(t time.Time) error {
	err := c.TCPConn.SetReadDeadline(t)
	if t.Equal(aLongTimeAgo) {
		<-c.woken
	}
	return err
}

func (c *lateDeadline) SetWriteDeadline(t time.Time) error {
	err := c.TCPConn.SetWriteDeadline(t)
	if t.Equal(aLongTimeAgo) {
		close(c.drained)
		return err
	}
	c.once.Do(func() {
		close(c.woken)
		<-c.drained
	})
	return err
}

// Before the handshake is over a client would take it for a part of that.
func TestNoGoodbyeDuringHandshake(t *testing.T) {
	l := testListener(answers(reply("CONTINUE", "")))
	l.settings.Goodbye = map[wire.Reason][]byte{wire.ReasonShutdown: []byte("421 closing\r\n")}
	l.useTLS(t)
	server, client := tcpPair(t)
	c, ended := l.serveConn(server)
	c.drain(wire.ReasonShutdown)
	receive(t, ended)
	got, _ := io.ReadAll(client)
	require.Empty(t, got)
	require.Equal(t, wire.ReasonShutdown, c.reason)
}
