package cluster

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/settings"
)

// natsServer is one connection to a NATS, which does what the test says.
type natsServer struct {
	t     *testing.T
	conn  net.Conn
	lines *bufio.Reader
}

// connectNATS returns an engine that is connected, and the server's end.
func connectNATS(t *testing.T, to receiver, linger time.Duration) (*natsEngine, *natsServer) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	timeout := time.Minute
	e := newNATS(&settings.Cluster{
		Name: "test", Timeout: &timeout, NATS: &settings.NATS{Addr: "nats://" + listener.Addr().String()},
	}, NodeID{1}, to)
	e.linger, e.retry = linger, time.Millisecond
	started := make(chan error)
	go func() { started <- e.start() }()
	s := &natsServer{t: t}
	s.conn, err = listener.Accept()
	require.NoError(t, err)
	require.NoError(t, s.conn.SetDeadline(time.Now().Add(patience)))
	t.Cleanup(func() { e.close(); _ = s.conn.Close() })
	s.lines = bufio.NewReader(s.conn)
	s.send(`INFO {"server_id":"x","version":"2.10.0","proto":1,"headers":true,"max_payload":1048576}`)
	s.expect("PING")
	s.send("PONG")
	require.NoError(t, <-started)
	return e, s
}

func (s *natsServer) send(line string) {
	_, err := fmt.Fprint(s.conn, line+"\r\n")
	require.NoError(s.t, err)
}

// expect returns the words of the next line that begins with the command. Pings before it are answered.
func (s *natsServer) expect(command string) []string {
	s.t.Helper()
	for {
		line, err := s.lines.ReadString('\n')
		require.NoError(s.t, err)
		switch words := strings.Fields(line); words[0] {
		case command:
			return words
		case "PING":
			s.send("PONG")
		}
	}
}

// heardMessages is a receiver that passes on what is received.
type heardMessages struct {
	receiver
	messages chan string
}

func (h heardMessages) up(string)               {}
func (h heardMessages) down(error)              {}
func (h heardMessages) received(message []byte) { h.messages <- string(message) }

// NATS may send what is for a tag until it knows that the node has it no more: somebody waits for the answer.
func TestTagsOfNATSLinger(t *testing.T) {
	to := heardMessages{messages: make(chan string, 1)}
	e, s := connectNATS(t, to, time.Hour)
	go e.subscribe([]string{"tag.room"})
	sub := s.expect("SUB")
	for sub[1] != "test.tag.room" {
		sub = s.expect("SUB")
	}
	e.unsubscribe([]string{"tag.room"})
	s.send("MSG test.tag.room " + sub[2] + " 5\r\nhello")
	select {
	case message := <-to.messages:
		require.Equal(t, "hello", message)
	case <-time.After(patience):
		t.Fatal("it was dropped")
	}

	e.subscribe([]string{"tag.room"}) // it is subscribed to already
	e.linger = 0
	e.unsubscribe([]string{"tag.room"})
	require.Equal(t, sub[2], s.expect("UNSUB")[1])
	go e.subscribe([]string{"tag.room"})
	require.NotEqual(t, sub[2], s.expect("SUB")[2])
}

// nats.go takes what NATS refuses for a subscription. It is tried again until NATS allows it, which it does not say.
func TestNATSRefusesSubscriptions(t *testing.T) {
	e, s := connectNATS(t, silent{}, time.Hour)
	e.subscribe([]string{"tag.x"})
	ids := make(map[string]string) // of subscriptions, by subject
	for range 2 {
		sub := s.expect("SUB")
		ids[sub[1]] = sub[2]
	}
	for range 3 {
		for subject, old := range ids {
			s.send(`-ERR 'Permissions Violation for Subscription to "` + subject + `"'`)
			require.Equal(t, old, s.expect("UNSUB")[1])
			sub := s.expect("SUB")
			require.Equal(t, subject, sub[1])
			ids[subject] = sub[2]
		}
	}
	s.send(`-ERR 'Permissions Violation for Publish to "test.tag.x"'`)
	s.send(`-ERR 'Permissions Violation for Subscription to "test.tag.never"'`)
	s.send(`-ERR 'Permissions Violation for Subscription to "test.tag.x"'`)
	require.Equal(t, ids["test.tag.x"], s.expect("UNSUB")[1])
}

// silent is a receiver that nothing becomes of.
type silent struct{ receiver }

func (silent) up(string)     {}
func (silent) down(error)    {}
func (silent) trouble(error) {}

// NATS tells the limit of an account when a connection is there already.
func TestNATSTellsTheLimitLate(t *testing.T) {
	e, s := connectNATS(t, silent{}, time.Hour)
	for _, limit := range []int{1 << 20, 1 << 16} {
		s.send(fmt.Sprintf(`INFO {"server_id":"x","version":"2.10.0","proto":1,"headers":true,"max_payload":%d}`, limit))
		require.Eventually(t, func() bool {
			e.publish(nil)
			return e.maxMessage() == limit
		}, patience, time.Millisecond)
	}
}

// What the network does is no news where NATS is lost. What the node can mend is.
func TestNATSSaysWhatIsNews(t *testing.T) {
	_, noFile := os.ReadFile(filepath.Join(t.TempDir(), "missing"))
	_, noServer := net.Dial("unix", filepath.Join(t.TempDir(), "missing"))
	for err, isNews := range map[error]bool{
		noServer: false, io.EOF: false, nats.ErrNoServers: false,
		fmt.Errorf("nats: %w", noFile): true, nats.ErrAuthorization: true, tls.RecordHeaderError{Msg: "no TLS"}: true,
		&net.OpError{Op: "remote error", Err: errors.New("tls: expired certificate")}: true,
	} {
		to := &troubled{}
		(&natsEngine{to: to}).refused(nil, nil, err)
		require.Equal(t, isNews, to.err != nil, err)
	}
}

type troubled struct {
	receiver
	err error
}

func (t *troubled) trouble(err error) { t.err = err }
