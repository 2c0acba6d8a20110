package tcp

import (
	"bytes"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

func TestASocketBatchIsWhatFits(t *testing.T) {
	server, client := tcpPair(t)
	const packets, size = 1000, 64
	_, err := client.Write(bytes.Repeat([]byte(strings.Repeat("x", size-1)+"\n"), packets))
	require.NoError(t, err)
	require.NoError(t, client.CloseWrite())

	r := &reader{source: newSource(server), framing: splitDelimiter([]byte("\n")), most: 32 << 10, batch: 32 << 10}
	require.Eventually(t, func() bool { // until all of it is in the socket's buffer
		n, err := unread(server)
		return err == nil && n == packets*size
	}, 5*time.Second, time.Millisecond)
	first, _, err := r.next()
	require.NoError(t, err)
	require.Len(t, first, 32<<10, "all that has arrived, as far as it fits")
	rest, tail := everyPacket(t, r)
	require.False(t, tail)
	require.Equal(t, packets*size, len(first)+len(strings.Join(rest, "")))
}

// unread counts the bytes that wait in the socket's receive buffer.
func unread(conn net.Conn) (n int32, err error) {
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return 0, err
	}
	err = raw.Control(func(fd uintptr) {
		syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCINQ, uintptr(unsafe.Pointer(&n)))
	})
	return n, err
}
