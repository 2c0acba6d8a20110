//go:build unix

package stream

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// packetsOf reads packets in a goroutine until an error; it sends the size of each and then closes the channel.
func packetsOf(r *Reader) <-chan int {
	sizes := make(chan int)
	go func() {
		defer close(sizes)
		for {
			packet, _, err := r.Next()
			if err != nil {
				r.Discard()
				return
			}
			sizes <- len(packet)
		}
	}()
	return sizes
}

func TestWaitingHoldsNoBuffer(t *testing.T) {
	server, client := tcpPair(t)
	r := &Reader{ReaderConfig: lines(t, NewSocket(server))}
	sizes := packetsOf(r)
	for _, packet := range []string{"one\n", x(100_000) + "\n"} {
		_, err := client.Write([]byte(packet))
		require.NoError(t, err)
		requireEventually(t, func() bool { return r.Memory.Used() > 0 }, "the packet is in memory")
		require.Equal(t, len(packet), <-sizes)
		requireEventually(t, func() bool { return r.Memory.Used() == 0 }, "the reader waits")
	}
	client.Close()
	<-sizes
}

func TestWaitingHoldsUnfinishedPacket(t *testing.T) {
	server, client := tcpPair(t)
	r := &Reader{ReaderConfig: lines(t, NewSocket(server))}
	sizes := packetsOf(r)
	large := []byte(x(64<<10-1) + "\n")
	for range 2 {
		client.Write(large)
		require.Equal(t, len(large), <-sizes)
	}
	for _, more := range []int{1, 9 << 10, 20 << 10} {
		client.Write(large[:more])
		requireEventually(t, func() bool {
			held := int(r.Memory.Used())
			return held >= more && held <= max(firstSize, 4*more)
		}, "no more than what has arrived needs")
	}
	client.Write([]byte("\n"))
	require.Equal(t, 1+9<<10+20<<10+1, <-sizes)
	client.Close()
	<-sizes
}

// There is always more of this packet: a deadline that is set meanwhile ends it all the same.
func TestDeadlineEndsEndlessPacket(t *testing.T) {
	server, client := tcpPair(t)
	r := &Reader{ReaderConfig: lines(t, NewSocket(server))}
	r.Limiter = NewReadLimiter()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for chunk := []byte(x(1000)); ; {
			if _, err := client.Write(chunk); err != nil {
				return
			}
		}
	}()
	go func() {
		for r.Total() < 1<<20 {
			runtime.Gosched()
		}
		server.SetReadDeadline(aLongTimeAgo)
	}()
	_, _, err := r.Next()
	require.ErrorIs(t, err, ErrPacketTimeout)
	r.Discard()
	server.Close()
	<-sent
}

func TestReadsTakeLimiter(t *testing.T) {
	server, client := tcpPair(t)
	r := &Reader{ReaderConfig: lines(t, NewSocket(server))}
	r.Limiter = &ReadLimiter{running: make(chan struct{}, 1)}
	sizes := packetsOf(r)
	r.Limiter.running <- struct{}{} // another one reads
	client.Write([]byte("small\n"))
	require.Equal(t, 6, <-sizes)
	client.Write([]byte(x(2*firstSize) + "\n"))
	requireEventually(t, func() bool { return r.Limiter.waiting.Load() == 1 }, "a large packet waits for its turn")
	<-r.Limiter.running
	require.Equal(t, 2*firstSize+1, <-sizes)
	client.Close()
	<-sizes
}

// TLS sends an alert when what arrives is no TLS, and waits for a client that takes nothing: others must not wait for that.
func TestTLSWaitsWithoutLimiter(t *testing.T) {
	server, client := tcpPair(t)
	s := handshaken(t, server, client, clientConfig())
	s.Limiter = limiterOf(1)
	written := make(chan error, 1)
	go func() { written <- s.Write(make([]byte, 64<<20), 0) }()
	sizes := packetsOf(s.Reader)
	_, err := io.WriteString(s.client, x(2*firstSize))
	require.NoError(t, err)
	requireEventually(t, func() bool { return s.Reader.Total() == 2*firstSize })
	_, err = client.Write([]byte("this is no TLS"))
	require.NoError(t, err)
	requireEventually(t, func() bool { return NewSocket(client).untaken() == 0 })
	time.Sleep(100 * time.Millisecond) // so that the alert waits
	requireFree(t, s.Limiter)
	client.Close()
	<-sizes
	require.Error(t, <-written)
}

func TestSocketErrors(t *testing.T) {
	t.Run("a reset while it waits", func(t *testing.T) {
		server, client := tcpPair(t)
		client.SetLinger(0)
		client.Close()
		_, _, err := (&Reader{ReaderConfig: lines(t, NewSocket(server))}).Next()
		require.ErrorIs(t, err, syscall.ECONNRESET)
		var timeout net.Error
		require.ErrorAs(t, err, &timeout, "as every error of a socket")
	})
	t.Run("a write to a client that is gone", func(t *testing.T) {
		server, client := tcpPair(t)
		w, _ := testWriter(server, NewSocket(server))
		client.SetLinger(0)
		client.Close()
		requireEventually(t, func() bool { return w.Write([]byte("x"), 0) != nil })
		err := w.Write([]byte("x"), 0)
		require.ErrorIs(t, err, syscall.EPIPE)
		var broken net.Error
		require.ErrorAs(t, err, &broken)
	})
	t.Run("a socket that is closed", func(t *testing.T) {
		server, _ := tcpPair(t)
		s := NewSocket(server)
		server.Close()
		_, _, err := (&Reader{ReaderConfig: lines(t, s)}).Next()
		require.ErrorIs(t, err, net.ErrClosed)
		w, _ := testWriter(server, s)
		require.ErrorIs(t, w.Write([]byte("x"), 0), net.ErrClosed)
	})
}

// The system takes a part at once; the rest is waited for.
func TestWriteLargeAnswer(t *testing.T) {
	server, client := tcpPair(t)
	w, _ := testWriter(server, NewSocket(server))
	w.Memory = NewMemory(0)
	body := bytes.Repeat([]byte("0123456789"), 1<<20)
	got := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(client)
		got <- b
	}()
	require.NoError(t, w.Write(body, 0))
	server.Close()
	require.True(t, bytes.Equal(body, <-got))
}

func TestExchangeAllocatesNothing(t *testing.T) {
	if isRace {
		t.Skip("a sync.Pool drops buffers at random under the race detector")
	}
	server, client := tcpPair(t)
	s := NewSocket(server)
	config := lines(t, s)
	config.Limiter = NewReadLimiter()
	r := &Reader{ReaderConfig: config}
	w := &Writer{WriterConfig: WriterConfig{Conn: server, Socket: s, Memory: config.Memory, SetDeadline: func(time.Time) {}}}
	packet, answer := []byte(x(10_000)+"\n"), []byte("answer\n")
	go func() {
		for got := make([]byte, len(answer)); ; {
			if _, err := client.Write(packet); err != nil {
				return
			}
			if _, err := io.ReadFull(client, got); err != nil {
				return
			}
		}
	}()
	exchange := func() {
		got, _, err := r.Next()
		if err != nil || len(got) != len(packet) {
			t.Fatal(len(got), err)
		}
		r.Release()
		if err := w.Write(answer, 0); err != nil {
			t.Fatal(err)
		}
		w.Release()
	}
	require.Less(t, testing.AllocsPerRun(1000, exchange), 0.5, "a collection empties the pool of buffers now and then")
	client.Close()
}

// unixPair is tcpPair for a unix socket.
func unixPair(t testing.TB) (server net.Conn, client *net.UnixConn) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	defer l.Close()
	dialed, err := net.Dial("unix", l.Addr().String())
	require.NoError(t, err)
	server, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { server.Close(); dialed.Close() })
	return server, dialed.(*net.UnixConn)
}

// Descriptors that come with the messages of a unix socket are not taken.
func TestUnixDescriptorsAreNotTaken(t *testing.T) {
	server, client := unixPair(t)
	r := &Reader{ReaderConfig: lines(t, NewSocket(server))}
	before := descriptors(t)
	for range 20 {
		_, _, err := client.WriteMsgUnix([]byte("x\n"), syscall.UnixRights(0), nil)
		require.NoError(t, err)
		requirePacket(t, r, "x\n")
	}
	require.Equal(t, before, descriptors(t))
}

func descriptors(t *testing.T) (count int) {
	open, err := os.ReadDir("/dev/fd")
	require.NoError(t, err)
	for _, f := range open {
		if !strings.HasPrefix(f.Name(), ".") {
			count++
		}
	}
	return count
}
