package stream

import (
	"bytes"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// unread returns the number of bytes in the receive buffer of conn.
func unread(t *testing.T, conn net.Conn) (n int) {
	raw, err := conn.(syscall.Conn).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }))
	require.NoError(t, err)
	return n
}

func TestBatchReadsUntilFull(t *testing.T) {
	server, client := tcpPair(t)
	const packets, size, batch = 1000, 64, 20_000
	_, err := client.Write(bytes.Repeat([]byte(x(size-1)+"\n"), packets))
	require.NoError(t, err)
	require.NoError(t, client.CloseWrite())
	requireEventually(t, func() bool { return unread(t, server) == packets*size })

	config := lines(t, NewSocket(server))
	config.Framing, config.ReadSize = delimited(t, "\n", batch), 32<<10
	r := &Reader{ReaderConfig: config}
	for total := 0; total < packets*size; {
		got, tail, err := r.Next()
		require.NoError(t, err)
		require.False(t, tail)
		require.Len(t, got, min(batch/size*size, packets*size-total), "all that has arrived, as far as it fits")
		total += len(got)
	}
	_, _, err = r.Next()
	require.ErrorIs(t, err, io.EOF)
}

// A read deadline may expire during an exchange.
func TestBatchIgnoresExpiredDeadline(t *testing.T) {
	server, client := tcpPair(t)
	config := lines(t, NewSocket(server))
	config.Framing, config.PacketTimeout = delimited(t, "\n", 100), time.Hour
	config.SetDeadline = func(at time.Time) { server.SetReadDeadline(at) }
	r := &Reader{ReaderConfig: config}
	io.WriteString(client, "a\nb")
	requireEventually(t, func() bool { return unread(t, server) == 3 })
	requirePacket(t, r, "a\n")
	server.SetReadDeadline(aLongTimeAgo)
	io.WriteString(client, "\nc\n")
	requireEventually(t, func() bool { return unread(t, server) == 3 })
	requirePacket(t, r, "b\nc\n")
}

// A batch is handed over as it is where memory for more of it is used up.
func TestBatchWithoutMemory(t *testing.T) {
	server, client := tcpPair(t)
	config := lines(t, NewSocket(server))
	config.Framing, config.Memory = delimited(t, "\n", 1<<20), NewMemory(1)
	r := &Reader{ReaderConfig: config}
	const packets, size = 1000, 64
	client.Write(bytes.Repeat([]byte(x(size-1)+"\n"), packets))
	requireEventually(t, func() bool { return unread(t, server) == packets*size })
	for total := 0; total < packets*size; {
		got, _, err := r.Next()
		require.NoError(t, err)
		require.LessOrEqual(t, len(got), guaranteedSize)
		total += len(got)
	}
}

// Records that have arrived whole are a batch, though each read returns one of them.
func TestTLSBatchSpansRecords(t *testing.T) {
	server, client := tcpPair(t)
	s := handshaken(t, server, client, clientConfig())
	s.Framing = delimited(t, "\n", 1<<20)
	for range 100 {
		_, err := io.WriteString(s.client, "packet\n")
		require.NoError(t, err)
	}
	requireEventually(t, func() bool { return unread(t, server) == 100*(len("packet\n")+recordOverhead) })
	requirePacket(t, s.Reader, strings.Repeat("packet\n", 100))
}
