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

	const fits = 20_000
	r := &reader{memory: &memory{}, socket: newSocket(server), framing: batched(splitDelimiter([]byte("\n"), false), fits), most: 32 << 10}
	require.Eventually(t, func() bool { // until all of it is in the socket's buffer
		n, err := unread(server)
		return err == nil && n == packets*size
	}, 5*time.Second, time.Millisecond)
	total := 0
	for total < packets*size {
		batch, tail, err := r.next()
		require.NoError(t, err)
		require.False(t, tail)
		require.Len(t, batch, min(fits/size*size, packets*size-total), "all that has arrived, as far as it fits")
		total += len(batch)
	}
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
