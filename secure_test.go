//go:build go1.25

package tcp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// writePair writes a self-signed certificate for a name, and its key, to files. It returns both and the certificate.
func writePair(t testing.TB, dir, name string) (pair KeyPair, certPEM []byte) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Now().AddDate(10, 0, 0), // bubbles begin in 2000
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	pair = KeyPair{filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")}
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	require.NoError(t, os.WriteFile(pair.Cert, certPEM, 0o600))
	require.NoError(t, os.WriteFile(pair.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	return pair, certPEM
}

// secured is a connection with TLS, served; its client has yet to make its handshake.
type secured struct {
	*connection
	worked *worked
	client *tls.Conn
	raw    net.Conn // the client's
	ended  chan struct{}
}

// strictConn lets a client see an end without close_notify as an error, which tls hides.
type strictConn struct{ net.Conn }

func (c strictConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, io.EOF) {
		err = errCutOff
	}
	return n, err
}

// slowConn is the connection of a client that reads half a kilobyte in so long; 0: never.
type slowConn struct {
	net.Conn
	pause time.Duration
	gone  chan struct{} // closed when a client that never reads has ended
}

func (c slowConn) Read(p []byte) (int, error) {
	if c.pause == 0 {
		<-c.gone
		return 0, net.ErrClosed
	}
	time.Sleep(c.pause)
	return c.Conn.Read(p[:min(len(p), 512)])
}

func (c strictConn) CloseWrite() error { return c.Conn.(interface{ CloseWrite() error }).CloseWrite() }

func serveSecure(t *testing.T, l limits, w *worked, server, client net.Conn, batch int) *secured {
	section := &TLS{}
	section.KeyPair, _ = writePair(t, t.TempDir(), "localhost")
	for _, err := range section.init("tls") {
		require.NoError(t, err)
	}
	listening := testListener(w, zap.NewNop())
	listening.limits, listening.framing.batch, listening.tls = l, batch, section
	listening.certs = newCertificates("s", section, zap.NewNop())
	s := &secured{connection: listening.newConnection(server), worked: w, raw: client, ended: make(chan struct{})}
	s.client = tls.Client(strictConn{client}, &tls.Config{InsecureSkipVerify: true})
	go func() { defer close(s.ended); s.serve(func() {}) }()
	t.Cleanup(func() { require.Zero(t, listening.memory.used.Load()) })
	return s
}

func write(text string, size int) answer {
	return answer{context: []byte(text), body: bytes.Repeat([]byte("x"), size)}
}

func TestASteadyReaderOfTLSIsServedHoweverSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := memoryPair(4 << 10)
		s := serveSecure(t, limits{write: 4 * second}, &worked{answers: []answer{write("WRITECLOSE", 100<<10)}}, server,
			slowConn{Conn: client, pause: 2 * second}, 0)
		begin := time.Now()
		got, err := io.ReadAll(s.client)
		require.NoError(t, err, "with close_notify")
		require.Len(t, got, 100<<10)
		require.Greater(t, time.Since(begin), 400*second)
		client.Close()
		<-s.ended
		require.Equal(t, "worker", s.worked.reason)
	})
}

// moreToCome are frames that nobody gets to see.
type moreToCome struct{}

func (moreToCome) next(<-chan struct{}) (answer, bool, error) { panic("the first is not written yet") }
func (moreToCome) end()                                       {}

func TestAFrameIsWrittenThroughTLSWithinWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := memoryPair(4 << 10)
		first := write("WRITE", 100<<10)
		first.more = moreToCome{}
		s := serveSecure(t, limits{write: 4 * second}, &worked{answers: []answer{first}}, server,
			slowConn{Conn: client, pause: second / 2}, 0)
		_, err := io.ReadAll(s.client)
		require.Error(t, err)
		<-s.ended
		require.Equal(t, "slow", s.worked.reason, "though it reads steadily: the worker waits")
		client.Close()
	})
}

func TestAReaderOfTLSThatIsStuckIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := memoryPair(4 << 10)
		s := serveSecure(t, limits{write: 4 * second}, &worked{answers: []answer{write("WRITE", 100<<10)}}, server, client, 0)
		require.NoError(t, s.client.Handshake())
		begin := time.Now()
		_, err := io.ReadFull(s.client, make([]byte, 50<<10))
		require.NoError(t, err)
		<-s.ended
		require.InDelta(t, 4, time.Since(begin).Seconds(), 1.1)
		require.Zero(t, time.Since(begin)%second, "no alert waits for its turn: half a record is out")
		require.Equal(t, "slow", s.worked.reason)
		_, err = io.Copy(io.Discard, s.client)
		require.Error(t, err, "what is cut off has no goodbye")
		require.NotErrorIs(t, err, io.EOF)
	})
}

func TestALimitSaysGoodbyeOnlyIfThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const room, record = 100, 22 // bytes, what TLS 1.3 adds to a small answer among them
		server, client := memoryPair(room)
		w := &worked{answers: []answer{write("WRITE", 1), write("WRITE", room-record)}}
		s := serveSecure(t, limits{write: time.Hour, idle: 10 * second}, w, server, client, 0)
		_, err := io.ReadFull(s.client, make([]byte, 1)) // and the session's tickets
		require.NoError(t, err)
		begin := time.Now()
		_, err = io.WriteString(s.client, "x\r\n")
		require.NoError(t, err)
		<-s.ended
		require.Equal(t, "idle", w.reason)
		require.Less(t, time.Since(begin), 11*second)
		got, err := io.ReadAll(s.client)
		require.Len(t, got, room-record)
		require.ErrorIs(t, err, errCutOff)
	})
}

func TestTheGoodbyeOfTLSIsNotDestroyedByUnreadInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := memoryPair(4 << 10)
		s := serveSecure(t, limits{}, &worked{answers: []answer{write("CLOSE", 0)}}, server, client, 0)
		require.NoError(t, s.client.Handshake())
		begin := time.Now()
		_, err := io.ReadAll(s.client)
		require.NoError(t, err, "with close_notify")
		<-s.ended
		require.Equal(t, lingerTime, time.Since(begin), "which the client is given time to read")
	})
}

// heldConn keeps what is written.
type heldConn struct {
	net.Conn
	held *bytes.Buffer
}

func (c heldConn) Write(p []byte) (int, error) { return c.held.Write(p) }

func TestAPacketDoesNotWaitForTheAlertThatHasBegunBehindIt(t *testing.T) {
	server, client := tcpPair(t)
	section := &TLS{}
	section.KeyPair, _ = writePair(t, t.TempDir(), "localhost")
	section.init("tls")
	s := &script{events: make(chan scriptedEvent), answer: make(chan func() (answer, error)), log: new([]string)}
	l := testListener(s, zap.NewNop())
	l.tls, l.certs = section, newCertificates("s", section, zap.NewNop())
	ended := make(chan struct{})
	go func() { defer close(ended); l.newConnection(server).serve(func() {}) }()

	below := &transport{Conn: client}
	secure := tls.Client(below, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}) // 1.3 hides alerts
	require.NoError(t, secure.Handshake())
	<-s.events
	var held bytes.Buffer
	below.Conn = heldConn{client, &held}
	io.WriteString(secure, "x\r\n")
	packet := held.Len()
	secure.CloseWrite()
	client.Write(held.Bytes()[:packet+3])
	s.answer <- func() (answer, error) { return answer{context: []byte("CONTINUE")}, nil }
	select {
	case e := <-s.events:
		require.Equal(t, "x\r\n", e.body)
	case <-time.After(5 * second):
		require.Fail(t, "the packet waits")
	}
	client.Write(held.Bytes()[packet+3:])
	s.answer <- func() (answer, error) { return answer{context: []byte("CONTINUE")}, nil }
	require.Equal(t, "eof", (<-s.events).context["reason"])
	<-ended
}

func TestAHandshakeThatTakesTooLongIsNoConnection(t *testing.T) {
	for name, sends := range map[string]string{"nothing": "", "half a hello": "\x16\x03\x01\x02\x00\x01"} {
		synctest.Test(t, func(t *testing.T) {
			server, client := memoryPair(4 << 10)
			begin := time.Now()
			s := serveSecure(t, limits{}, &worked{}, server, client, 0)
			io.WriteString(client, sends)
			<-s.ended
			require.Equal(t, defaultHandshakeTimeout, time.Since(begin), name)
			require.Equal(t, reasonHandshake, s.why)
			require.Empty(t, s.worked.events)
			require.Empty(t, s.worked.reason, "no worker hears of it")
		})
	}
}

func TestDrainAndAbortEndAHandshakeAtOnce(t *testing.T) {
	for name, end := range map[string]func(*connection){
		"drain": func(c *connection) { c.drain(reasonShutdown) },
		"abort": func(c *connection) { c.abort(reasonShutdown) },
	} {
		for _, sends := range []string{"", "hello"} {
			t.Run(name+" "+sends, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					server, client := memoryPair(10) // too little for the server's part
					gone := make(chan struct{})
					s := serveSecure(t, limits{}, &worked{}, server, slowConn{Conn: client, gone: gone}, 0)
					if sends != "" {
						go s.client.Handshake()
					}
					synctest.Wait()
					begin := time.Now()
					end(s.connection)
					<-s.ended
					require.Zero(t, time.Since(begin))
					require.Equal(t, reasonShutdown, s.why)
					require.Empty(t, s.worked.events)
					close(gone)
					synctest.Wait()
				})
			})
		}
	}
}

func TestAnAbortEndsAWriteThroughTLSAtOnce(t *testing.T) {
	server, client := tcpPair(t)
	s := serveSecure(t, limits{write: time.Minute}, &worked{answers: []answer{write("WRITE", 64<<20)}}, server, client, 0)
	require.NoError(t, s.client.Handshake())
	_, err := io.ReadFull(s.client, make([]byte, 1<<20))
	require.NoError(t, err)
	begin := time.Now()
	s.abort(reasonRPC)
	<-s.ended
	require.Less(t, time.Since(begin), 4*second)
	require.Equal(t, "rpc", s.worked.reason)
}

func TestTheLastAnswerThroughTLSArrivesThoughTheClientStillSends(t *testing.T) {
	server, client := tcpPair(t)
	s := serveSecure(t, limits{write: time.Minute}, &worked{answers: []answer{write("WRITECLOSE", 4<<20)}}, server, client, 0)
	require.NoError(t, s.client.Handshake())
	_, err := s.client.Write(make([]byte, 10_000)) // unread input: a plain close would destroy the answer
	require.NoError(t, err)
	got, err := io.ReadAll(s.client)
	require.NoError(t, err, "with close_notify")
	require.Equal(t, 4<<20, len(got))
	client.Close()
	<-s.ended
}

func TestWhatTLSSaysOfAnEnd(t *testing.T) {
	for name, test := range map[string]struct {
		sends, events, reason string
		notify                bool
	}{
		"a tail with a goodbye":       {"x\r\ntail", "DATA x\r\n|DATA tail", "eof", true},
		"a tail that may be cut off":  {"x\r\ntail", "DATA x\r\n", "reset", false},
		"whole packets, no goodbye":   {"x\r\ny\r\n", "DATA x\r\n|DATA y\r\n", "eof", false},
		"nothing, and no goodbye":     {"", "", "eof", false},
		"nothing but a goodbye":       {"", "", "eof", true},
		"many records and a goodbye":  {strings.Repeat("x", 100_000), "DATA " + strings.Repeat("x", 100_000), "eof", true},
		"many records and no goodbye": {strings.Repeat("x", 100_000), "", "reset", false},
	} {
		for kind, pair := range map[string]func(*testing.T) (net.Conn, net.Conn){
			"tcp":    func(t *testing.T) (net.Conn, net.Conn) { s, c := tcpPair(t); return s, c },
			"memory": func(*testing.T) (net.Conn, net.Conn) { s, c := memoryPair(1 << 20); return s, c },
		} {
			for _, batch := range []int{0, 1 << 20} {
				t.Run(name+"/"+kind, func(t *testing.T) {
					server, client := pair(t)
					s := serveSecure(t, limits{}, &worked{}, server, client, batch)
					require.NoError(t, s.client.Handshake())
					_, err := io.WriteString(s.client, test.sends)
					require.NoError(t, err)
					if test.notify {
						require.NoError(t, s.client.CloseWrite())
					}
					require.NoError(t, strictConn{client}.CloseWrite())
					_, err = io.Copy(io.Discard, s.client)
					require.NoError(t, err, "the server says goodbye")
					<-s.ended
					events := strings.Join(s.worked.events[1:], "|")
					if batch > 0 {
						events = strings.ReplaceAll(events, "x\r\ny\r\n", "x\r\n|DATA y\r\n")
					}
					require.Equal(t, test.events, events)
					require.Equal(t, test.reason, s.worked.reason)
				})
			}
		}
	}
}

func TestGarbageInTLSIsTheClientsFault(t *testing.T) {
	server, client := tcpPair(t)
	s := serveSecure(t, limits{}, &worked{}, server, client, 0)
	require.NoError(t, s.client.Handshake())
	io.WriteString(client, "this is no record\r\n")
	<-s.ended
	require.Equal(t, "reset", s.worked.reason)
	require.Equal(t, zap.DebugLevel, s.why.level())
}

func TestAWaitingSocketWithTLSHoldsNoBuffer(t *testing.T) {
	server, client := tcpPair(t)
	w := &worked{answers: []answer{write("CONTINUE", 0), write("WRITE", 3)}}
	s := serveSecure(t, limits{}, w, server, client, 0)
	require.NoError(t, s.client.Handshake())
	_, err := s.client.Write(append(bytes.Repeat([]byte("x"), 100_000), "\r\n"...))
	require.NoError(t, err)
	_, err = io.ReadFull(s.client, make([]byte, 3))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return s.packets.memory.used.Load() == 0 }, 5*second, time.Millisecond)
	client.Close()
	<-s.ended
}

func TestABatchThroughTLSIsAllThatHasArrived(t *testing.T) {
	server, client := tcpPair(t)
	w := &worked{after: 300 * time.Millisecond}
	s := serveSecure(t, limits{}, w, server, client, 1<<20)
	require.NoError(t, s.client.Handshake())
	for range 100 { // a record each, all there when CONNECTED is answered
		_, err := io.WriteString(s.client, "packet\r\n")
		require.NoError(t, err)
	}
	require.NoError(t, s.client.CloseWrite())
	<-s.ended
	require.Equal(t, []string{"CONNECTED ", "DATA " + strings.Repeat("packet\r\n", 100)}, w.events)
}

func BenchmarkExchangeTLS(b *testing.B) {
	section := &TLS{}
	section.KeyPair, _ = writePair(b, b.TempDir(), "localhost")
	section.init("tls")
	server, client := tcpPair(b)
	l := testListener(answers{context: []byte("WRITE"), body: bytes.Repeat([]byte("x"), 64)}, zap.NewNop())
	l.tls, l.certs = section, newCertificates("s", section, zap.NewNop())
	c, ended := l.newConnection(server), make(chan struct{})
	go func() { defer close(ended); c.serve(func() {}) }()
	secure := tls.Client(client, &tls.Config{InsecureSkipVerify: true})
	packet, got := append(bytes.Repeat([]byte("x"), 62), "\r\n"...), make([]byte, 64)
	_, err := io.ReadFull(secure, got)
	require.NoError(b, err)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if _, err := secure.Write(packet); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(secure, got); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	client.Close()
	<-ended
}
