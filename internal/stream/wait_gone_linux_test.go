package stream

import (
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// waitingGone returns what WaitGone of a reader of server returns; it is behind the end of file.
func waitingGone(t *testing.T, r *Reader) chan error {
	_, _, err := r.Next()
	require.ErrorIs(t, err, io.EOF)
	gone := make(chan error, 1)
	go func() { gone <- r.WaitGone() }()
	return gone
}

func TestWaitGoneNoticesReset(t *testing.T) {
	server, client := tcpPair(t)
	r := &Reader{ReaderConfig: lines(t, NewSocket(server))}
	require.NoError(t, client.CloseWrite())
	gone := waitingGone(t, r)
	_, err := server.Write([]byte("pushed"))
	require.NoError(t, err)
	b := make([]byte, 6)
	_, err = io.ReadFull(client, b)
	require.NoError(t, err, "it is still open")
	require.Empty(t, gone)
	require.NoError(t, client.SetLinger(0))
	require.NoError(t, client.Close())
	require.ErrorIs(t, <-gone, syscall.EPIPE) // what Linux makes of a reset behind an end
}

func TestWaitGoneNoticesUnixClose(t *testing.T) {
	server, client := unixPair(t)
	r := &Reader{ReaderConfig: lines(t, NewSocket(server))}
	require.NoError(t, client.CloseWrite())
	gone := waitingGone(t, r)
	require.NoError(t, client.Close())
	require.ErrorIs(t, <-gone, io.EOF)
}

// Behind close_notify the socket is still looked at.
func TestWaitGoneOverTLS(t *testing.T) {
	server, client := tcpPair(t)
	s := handshaken(t, server, client, clientConfig())
	require.NoError(t, s.client.CloseWrite())
	gone := waitingGone(t, s.Reader)
	require.NoError(t, client.SetLinger(0))
	require.NoError(t, client.Close())
	require.Error(t, <-gone)
}

// What a client sends behind close_notify is no packet that has begun.
func TestWaitGoneHasNoPacketTimeout(t *testing.T) {
	server, client := tcpPair(t)
	s := handshaken(t, server, client, clientConfig())
	require.NoError(t, s.client.CloseWrite())
	require.NoError(t, client.SetWriteDeadline(time.Time{})) // which CloseWrite has set
	_, err := client.Write([]byte{23, 3, 3})                 // the beginning of a record
	require.NoError(t, err)
	_, _, err = s.Next()
	require.ErrorIs(t, err, io.EOF)
	s.Reader.SetDeadline, s.PacketTimeout = func(at time.Time) { server.SetReadDeadline(at) }, time.Nanosecond
	require.NoError(t, client.SetLinger(0))
	require.NoError(t, client.Close())
	require.ErrorIs(t, s.WaitGone(), syscall.ECONNRESET)
}

func TestWaitGoneHeedsDeadlines(t *testing.T) {
	server, client := tcpPair(t)
	r := &Reader{ReaderConfig: lines(t, NewSocket(server))}
	require.NoError(t, client.CloseWrite())
	gone := waitingGone(t, r)
	require.NoError(t, server.SetReadDeadline(time.Unix(1, 0)))
	require.ErrorIs(t, <-gone, ErrIdle)
	r.SetDeadline, r.IdleTimeout = func(at time.Time) { server.SetReadDeadline(at) }, time.Nanosecond
	require.ErrorIs(t, r.WaitGone(), ErrIdle)
}
