package stream

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/stream/streamtest"
)

// pairs are the kinds of connection that TLS lies above: one whose Socket waits without a buffer where the system has that,
// and one that can't.
var pairs = map[string]func(*testing.T) (net.Conn, net.Conn){
	"tcp":    func(t *testing.T) (net.Conn, net.Conn) { s, c := tcpPair(t); return s, c },
	"memory": func(*testing.T) (net.Conn, net.Conn) { s, c := streamtest.Pair(1 << 20); return s, c },
}

func TestTLSEnds(t *testing.T) {
	large := x(100_000)
	for name, c := range map[string]struct {
		sends  string
		want   []string
		left   int
		end    error
		notify bool
	}{
		"a tail with close_notify":           {"x\ntail", []string{"x\n", "tail"}, 0, io.EOF, true},
		"a tail that may be truncated":       {"x\ntail", []string{"x\n"}, 4, ErrTruncated, false},
		"whole packets without close_notify": {"x\ny\n", []string{"x\n", "y\n"}, 0, ErrTruncated, false},
		"nothing, and no close_notify":       {"", nil, 0, ErrTruncated, false},
		"nothing but close_notify":           {"", nil, 0, io.EOF, true},
		"many records and close_notify":      {large, []string{large}, 0, io.EOF, true},
		"many records and no close_notify":   {large, nil, len(large), ErrTruncated, false},
	} {
		for kind, pair := range pairs {
			for _, batch := range []int{0, 1 << 20} {
				t.Run(name+"/"+kind, func(t *testing.T) {
					server, client := pair(t)
					s := handshaken(t, server, client, clientConfig())
					s.Framing = delimited(t, "\n", batch)
					go func() {
						io.WriteString(s.client, c.sends)
						if c.notify {
							s.client.CloseWrite()
						}
						strictConn{client}.CloseWrite()
					}()
					got, _, err := readAll(s.Reader)
					require.ErrorIs(t, err, c.end)
					require.NotErrorIs(t, err, ErrTLS)
					require.Equal(t, strings.Join(c.want, ""), strings.Join(got, ""))
					require.True(t, batch > 0 || len(got) == len(c.want))
					require.Equal(t, c.left, s.Unfinished())
					require.Equal(t, c.notify, s.EOF())

					s.socket.CloseNotify(false)
					_, err = io.Copy(io.Discard, s.client)
					require.NoError(t, err, "close_notify arrives")
					s.Discard()
					require.Zero(t, s.Reader.Memory.Used())
				})
			}
		}
	}
}

func TestTLSGarbage(t *testing.T) {
	for kind, pair := range pairs {
		t.Run(kind, func(t *testing.T) {
			server, client := pair(t)
			s := handshaken(t, server, client, clientConfig())
			io.WriteString(client, "this is no record\n")
			_, _, err := s.Next()
			require.ErrorIs(t, err, ErrTLS)
			require.Zero(t, s.Reader.Memory.Used())
			before := s.socket.below.records.Total()
			s.socket.CloseNotify(false)
			require.Equal(t, before, s.socket.below.records.Total(), "an alert has said it already")
		})
	}
}

// heldConn keeps what is written.
type heldConn struct {
	net.Conn
	held *bytes.Buffer
}

func (c heldConn) Write(p []byte) (int, error) { return c.held.Write(p) }

// swapConn is a connection that can be replaced.
type swapConn struct{ net.Conn }

// A packet does not wait for the record that has arrived in part behind it, and TLS survives the wait for the rest.
func TestTLSPacketBeforePartialRecord(t *testing.T) {
	server, plain := tcpPair(t)
	below, config := &swapConn{plain}, clientConfig()
	config.MaxVersion = tls.VersionTLS12 // 1.3 hides what is an alert
	s := handshaken(t, server, below, config)
	var held bytes.Buffer
	below.Conn = heldConn{plain, &held}
	io.WriteString(s.client, "x\n")
	packet := held.Len()
	s.client.CloseWrite()
	require.NoError(t, plain.SetWriteDeadline(time.Time{})) // which CloseWrite has set
	_, err := plain.Write(held.Bytes()[:packet+3])
	require.NoError(t, err)
	requirePacket(t, s.Reader, "x\n")
	go func() {
		for s.Reader.Memory.Used() > 0 { // until the Reader waits
			runtime.Gosched()
		}
		plain.Write(held.Bytes()[packet+3:])
	}()
	_, _, err = s.Next()
	require.ErrorIs(t, err, io.EOF)
}

func TestTLSWaitingHoldsNoBuffer(t *testing.T) {
	server, client := tcpPair(t)
	s := handshaken(t, server, client, clientConfig())
	sizes := make(chan int)
	go func() {
		defer close(sizes)
		for {
			packet, _, err := s.Next()
			if err != nil {
				return
			}
			sizes <- len(packet)
		}
	}()
	for _, packet := range []string{"x\n", x(100_000) + "\n"} {
		_, err := io.WriteString(s.client, packet)
		require.NoError(t, err)
		requireEventually(t, func() bool { return s.Reader.Memory.Used() > 0 })
		require.Equal(t, len(packet), <-sizes)
		if _, isRaw := s.socket.Socket.(portableSocket); !isRaw {
			requireEventually(t, func() bool { return s.Reader.Memory.Used() == 0 })
		}
	}
	client.Close()
	<-sizes
}

// A deadline ends one wait and breaks no session.
func TestTLSSurvivesDeadline(t *testing.T) {
	server, client := tcpPair(t)
	s := handshaken(t, server, client, clientConfig())
	for range 3 {
		server.SetReadDeadline(aLongTimeAgo)
		_, _, err := s.Next()
		require.ErrorIs(t, err, ErrIdle)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
		server.SetReadDeadline(time.Time{})
		io.WriteString(s.client, "x\n")
		requirePacket(t, s.Reader, "x\n")
		require.NoError(t, s.Write([]byte("y\n"), 0))
		require.Equal(t, "y\n", readString(t, s.client, 2))
	}
}

// recordOverhead is what TLS 1.3 adds to a small record: header, type and tag.
const recordOverhead = 5 + 1 + 16

func TestTLSLargeAnswer(t *testing.T) {
	for kind, pair := range pairs {
		t.Run(kind, func(t *testing.T) {
			server, client := pair(t)
			s := handshaken(t, server, client, clientConfig())
			body := bytes.Repeat([]byte("0123456789"), 400_000)
			done := make(chan error)
			go func() {
				err := s.Write(body, 0)
				s.socket.CloseNotify(false)
				done <- err
			}()
			got, err := io.ReadAll(s.client)
			require.NoError(t, err, "with close_notify")
			require.True(t, bytes.Equal(body, got))
			require.NoError(t, <-done)
			require.EqualValues(t, len(body), s.Writer.Total(), "without what TLS adds")
		})
	}
}

func TestTLSDataBesideHandshake(t *testing.T) {
	server, client := tcpPair(t)
	var held bytes.Buffer
	below := &swapConn{client}
	// The client sends a packet together with the end of the handshake: TLS has it in its own buffer then.
	c := tls.Client(below, clientConfig())
	hold := &coalescingConn{Conn: client, held: &held}
	below.Conn = hold
	socket := NewSocket(server)
	r := &Reader{ReaderConfig: lines(t, socket)}
	w, _ := testWriter(server, socket)
	go func() {
		_ = c.Handshake()
		_, _ = io.WriteString(c, "x\n")
		hold.flush()
	}()
	_, err := Handshake(server, serverConfig(t), r, w, nil, never)
	require.NoError(t, err)
	requirePacket(t, r, "x\n")
}

// coalescingConn sends the first write at once, and what follows when it is flushed.
type coalescingConn struct {
	net.Conn
	held   *bytes.Buffer
	writes int
}

func (c *coalescingConn) Write(p []byte) (int, error) {
	if c.writes++; c.writes == 1 {
		return c.Conn.Write(p)
	}
	return c.held.Write(p)
}

func (c *coalescingConn) flush() { _, _ = c.Conn.Write(c.held.Bytes()) }

func TestHandshakeFails(t *testing.T) {
	server, client := tcpPair(t)
	io.WriteString(client, "GET / HTTP/1.1\r\n\r\n")
	socket := NewSocket(server)
	r := &Reader{ReaderConfig: lines(t, socket)}
	w, _ := testWriter(server, socket)
	s, err := Handshake(server, serverConfig(t), r, w, nil, never)
	require.Error(t, err)
	require.Nil(t, s)
	require.Same(t, socket, r.Socket, "both stay as they are")
	require.Same(t, socket, w.Socket)
}
