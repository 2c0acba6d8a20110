//go:build go1.25

package stream

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math/rand"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/stream/streamtest"
)

func never() bool { return false }

// withRecords is a TLS connection whose client can send what package tls would not.
func withRecords(t testing.TB, server, client net.Conn) (*secured, *streamtest.Records) {
	config := clientConfig()
	keys := streamtest.KeyLog(config)
	s := handshaken(t, server, client, config)
	return s, streamtest.NewRecords(s.client, keys)
}

// timed sets the time limits of a connection.
func (s *secured) timed(server net.Conn, idle, packet time.Duration) {
	s.IdleTimeout, s.PacketTimeout = idle, packet
	s.Reader.SetDeadline = func(at time.Time) { server.SetReadDeadline(at) }
}

func TestPacketTimeoutCountsWhatTLSHolds(t *testing.T) {
	for name, sends := range map[string]func(r *streamtest.Records) [][]byte{
		"a message of several records": func(r *streamtest.Records) [][]byte { return [][]byte{r.Unfinished(200 << 10)} },
		"a message in many pieces": func(r *streamtest.Records) (all [][]byte) {
			message := r.Unfinished(100 << 10)
			for ; len(message) > 1000; message = message[1000:] {
				all = append(all, message[:1000])
			}
			return all
		},
		"a part of a header": func(r *streamtest.Records) [][]byte { return [][]byte{r.Data([]byte("x\n"))[:3]} },
		"half a record":      func(r *streamtest.Records) [][]byte { return [][]byte{r.Data(make([]byte, 100))[:50]} },
		"a packet in part":   func(r *streamtest.Records) [][]byte { return [][]byte{r.Data([]byte("x"))} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, client := streamtest.Pair(1 << 20)
				s, records := withRecords(t, server, client)
				s.timed(server, 1000*second, 10*second)
				background(t, func() {
					time.Sleep(100 * second)
					for _, piece := range sends(records) {
						client.Write(piece)
						time.Sleep(second / 10)
					}
				})
				begin := time.Now()
				_, _, err := s.Next()
				require.ErrorIs(t, err, ErrPacketTimeout)
				require.Equal(t, 110*second, time.Since(begin), "from the first byte on")
				s.Discard()
				s.socket.Release()
				require.Zero(t, s.Reader.Memory.Used())
				server.Close()
			})
		})
	}
}

// A wait for the descriptor of a socket has begun with idle_timeout.
func TestPacketTimeoutBeginsWithinAWait(t *testing.T) {
	server, client := tcpPair(t)
	s, records := withRecords(t, server, client)
	s.timed(server, time.Hour, time.Millisecond)
	_, err := client.Write(records.Data([]byte("x\n"))[:3])
	require.NoError(t, err)
	lastResort := time.AfterFunc(time.Minute, func() { server.Close() })
	defer lastResort.Stop()
	_, _, err = s.Next()
	require.ErrorIs(t, err, ErrPacketTimeout)
}

// A message of TLS that is whole, but carries no data, begins no packet.
func TestWholeMessageIsNoPacket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := streamtest.Pair(1 << 20)
		s, records := withRecords(t, server, client)
		s.timed(server, 1000*second, 10*second)
		update := records.KeyUpdate()
		background(t, func() {
			time.Sleep(100 * second)
			client.Write(update[:10])
			time.Sleep(5 * second)
			client.Write(update[10:])
		})
		begin := time.Now()
		_, _, err := s.Next()
		require.ErrorIs(t, err, ErrIdle)
		require.Equal(t, 1105*second, time.Since(begin))
		server.Close()
	})
}

func TestMemoryCountsWhatTLSHolds(t *testing.T) {
	for kind, pair := range pairs {
		t.Run(kind, func(t *testing.T) {
			server, client := pair(t)
			s, records := withRecords(t, server, client)
			s.Reader.Memory.limit = 1 << 20
			go client.Write(append(records.Data([]byte("x\n")), records.Unfinished(200<<10)...))
			requirePacket(t, s.Reader, "x\n")
			require.LessOrEqual(t, s.Reader.Memory.Used(), int64(guaranteedSize))
			_, _, err := s.Next()
			require.ErrorIs(t, err, ErrMemory)
			require.Greater(t, s.Reader.Memory.Used(), int64(100<<10), "until the connection has ended")
			s.Discard()
			s.socket.Release()
			require.Zero(t, s.Reader.Memory.Used())
			server.Close()
		})
	}
}

// With what the connection holds besides it may have half of the memory.
func TestMemoryOfTLSCountsWhatElseIsHeld(t *testing.T) {
	const limit, extra = 1 << 20, 400 << 10
	server, client := tcpPair(t)
	s, records := withRecords(t, server, client)
	s.Reader.Memory.limit = limit
	require.True(t, s.Reader.Memory.Take(extra, 0))
	s.SetExtra(extra)
	go client.Write(records.Unfinished(200 << 10))
	_, _, err := s.Next()
	require.ErrorIs(t, err, ErrMemory)
	require.LessOrEqual(t, s.Reader.Memory.Used(), int64(limit/2))
	s.Discard()
	s.socket.Release()
	require.EqualValues(t, extra, s.Reader.Memory.Used())
}

// What TLS holds of large packets that arrive is no more than a record.
func TestLargePacketsNeedNoMemoryOfTLS(t *testing.T) {
	server, client := tcpPair(t)
	s := handshaken(t, server, client, clientConfig())
	s.Reader.Memory.limit = 300 << 10
	packet := x(100_000) + "\n"
	go func() {
		for range 50 {
			io.WriteString(s.client, packet)
		}
	}()
	for range 50 {
		got, _, err := s.Next()
		require.NoError(t, err)
		require.True(t, packet == string(got))
		require.Zero(t, s.socket.below.input.taken)
	}
}

// handshake makes a handshake with a client of that config.
func handshake(t *testing.T, memory *Memory, config *tls.Config, l *HandshakeLimiter) (*SecureSocket, error) {
	server, client := tcpPair(t)
	socket := NewSocket(server)
	r := &Reader{ReaderConfig: lines(t, socket)}
	r.Memory = memory
	w, _ := testWriter(server, socket)
	go tls.Client(client, config).Handshake()
	return Handshake(server, serverConfig(t), r, w, l, never)
}

func TestMemoryCountsHandshakes(t *testing.T) {
	memory := NewMemory(100 << 10)
	_, err := handshake(t, memory, clientConfig(), nil)
	require.NoError(t, err)
	require.Zero(t, memory.Used(), "an ordinary one is not counted")

	large := clientConfig()
	streamtest.LargeHello(large, 60_000)
	_, err = handshake(t, memory, large, nil)
	require.ErrorIs(t, err, ErrMemory)
	require.Zero(t, memory.Used())

	memory.limit = 0
	s, err := handshake(t, memory, large, nil)
	require.NoError(t, err)
	require.Greater(t, memory.Used(), int64(100<<10), "package tls keeps its buffer")
	require.Less(t, memory.Used(), int64(recordsOverhead*60_000), "but not what it has parsed")
	s.Release()
	require.Zero(t, memory.Used())

	memory.limit = 10
	require.True(t, memory.Take(10, 0))
	_, err = handshake(t, memory, clientConfig(), nil)
	require.NoError(t, err, "an ordinary one is never refused")
}

// The client's first message is dealt with in a turn, and nothing keeps it.
func TestHandshakesAreComputedInTheirTurn(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		l, turns := NewHandshakeLimiter(1), 0
		server, client := tcpPair(t)
		socket := NewSocket(server)
		r := &Reader{ReaderConfig: lines(t, socket)}
		w, _ := testWriter(server, socket)
		config := serverConfig(t)
		config.MaxVersion = version
		config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			turns = len(l.running)
			return nil, nil
		}
		go tls.Client(client, clientConfig()).Handshake()
		_, err := Handshake(server, config, r, w, l, never)
		require.NoError(t, err)
		require.Equal(t, 1, turns)
		require.Empty(t, l.running)
	}
}

// What a handshake sends last, such as an alert, is followed by nothing that needs a turn.
func TestAHandshakeThatFailsWaitsForNoTurn(t *testing.T) {
	server, client := tcpPair(t)
	socket := NewSocket(server)
	r := &Reader{ReaderConfig: lines(t, socket)}
	w, _ := testWriter(server, socket)
	config, refused, failed := serverConfig(t), errors.New("refused"), false
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		failed = true
		return nil, refused
	}
	go tls.Client(client, clientConfig()).Handshake()
	_, err := Handshake(server, config, r, w, nil, func() bool {
		require.False(t, failed, "a turn has begun")
		return false
	})
	require.ErrorIs(t, err, refused)
}

// A handshake whose client is silent has no turn.
func TestSilentHandshakesHaveNoTurn(t *testing.T) {
	l := NewHandshakeLimiter(1)
	ended := make(chan error)
	for range 3 {
		server, client := tcpPair(t)
		socket := NewSocket(server)
		r := &Reader{ReaderConfig: lines(t, socket)}
		w, _ := testWriter(server, socket)
		go func() {
			_, err := Handshake(server, serverConfig(t), r, w, l, never)
			ended <- err
		}()
		// The client answers nothing to the server's part, which it waits for.
		go tls.Client(readOnce{client}, clientConfig()).Handshake()
		b := make([]byte, 1)
		_, err := io.ReadFull(client, b)
		require.NoError(t, err)
		defer func() {
			client.Close()
			require.Error(t, <-ended)
		}()
	}
	_, err := handshake(t, NewMemory(0), clientConfig(), l)
	require.NoError(t, err)
	require.Empty(t, l.running)
}

// Nor has one whose client takes nothing.
func TestUnreadHandshakeHasNoTurn(t *testing.T) {
	l, ended := NewHandshakeLimiter(1), make(chan error)
	server, client := streamtest.Pair(1)
	socket := NewSocket(server)
	r := &Reader{ReaderConfig: lines(t, socket)}
	w, _ := testWriter(server, socket)
	go func() {
		_, err := Handshake(server, serverConfig(t), r, w, l, never)
		ended <- err
	}()
	go tls.Client(readOnce{client}, clientConfig()).Handshake()
	requireEventually(t, func() bool { return server.Buffered() == 1 && len(l.running) == 0 })
	client.Reset()
	require.Error(t, <-ended)
}

// A client that goes away in the middle of its first message leaves nothing.
func TestMemoryOfBrokenHandshakeIsGivenBack(t *testing.T) {
	server, client := tcpPair(t)
	socket := NewSocket(server)
	r := &Reader{ReaderConfig: lines(t, socket)}
	w, _ := testWriter(server, socket)
	ended := make(chan error)
	go func() {
		_, err := Handshake(server, serverConfig(t), r, w, nil, never)
		ended <- err
	}()
	const record, message = 16 << 10, 60_000
	hello := append([]byte{22, 3, 1, record >> 8, 0, 1, 0, message >> 8, message & 0xff}, make([]byte, record-4)...)
	_, err := client.Write(hello)
	require.NoError(t, err)
	requireEventually(t, func() bool { return r.Memory.Used() > 0 })
	client.Close()
	require.Error(t, <-ended)
	require.Zero(t, r.Memory.Used())
}

// readOnce is the connection of a client that never gets an answer.
type readOnce struct{ net.Conn }

func (readOnce) Read([]byte) (int, error) { return 0, io.EOF }

func TestHandshakesTakeTurns(t *testing.T) {
	l := NewHandshakeLimiter(1)
	first := &handshakeTurn{limiter: l, expired: never}
	require.NoError(t, first.begin())
	require.NoError(t, first.begin(), "again")
	const waiting = 3
	expired := false
	results := make(chan error)
	for i := range waiting {
		turn := &handshakeTurn{limiter: l, expired: func() bool { return expired && i > 0 }}
		go func() {
			defer turn.end()
			results <- turn.begin()
		}()
	}
	select {
	case <-results:
		t.Fatal("the turn is taken")
	case <-time.After(10 * time.Millisecond): // which finds nothing where this machine is slow
	}
	expired = true
	first.end()
	first.end()
	failed := 0
	for range waiting {
		if err := <-results; err != nil {
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			failed++
		}
	}
	require.Equal(t, waiting-1, failed, "those that have expired give their turn on")
	require.NoError(t, (&handshakeTurn{limiter: NewHandshakeLimiter(0), expired: never}).begin(), "0 is no limit")
}

// However a stream of records is cut, the scanner knows where it stands.
func TestRecordScanner(t *testing.T) {
	for range 200 {
		var sent []byte
		ends := map[int]bool{0: true}
		for range 10 {
			record := make([]byte, recordHeader+rand.Intn(3)*rand.Intn(300))
			binary.BigEndian.PutUint16(record[3:], uint16(len(record)-recordHeader))
			sent = append(sent, record...)
			ends[len(sent)] = true
		}
		var s recordScanner
		for at := 0; at < len(sent); {
			next := min(len(sent), at+rand.Intn(400))
			s.scan(sent[at:next])
			at = next
			require.Equal(t, ends[at], !s.isInside(), "after %d bytes", at)
		}
	}
}
