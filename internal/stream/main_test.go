package stream

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/rrtcp/tcp/internal/framing"
)

const poison = 0xdb

var isRace bool // set by race_test.go

// Every buffer that is freed is overwritten: a packet that is used after its release is not what was sent.
func TestMain(m *testing.M) {
	OnFree = func(b []byte) {
		for i := range b {
			b[i] = poison
		}
	}
	goleak.VerifyTestMain(m)
}

var aLongTimeAgo = time.Unix(1, 0)

const second = time.Second

func x(n int) string { return strings.Repeat("x", n) }

// delimited is the framing of packets that end with delimiter, up to batch bytes of them at once.
func delimited(t require.TestingT, delimiter string, batch int) framing.Framing {
	p := framing.Packets{Delimiter: delimiter, Batch: batch > 0}
	require.Empty(t, p.Init("x", 0))
	return p.New(batch, 0)
}

// lines is a ReaderConfig for packets that end with a line feed, without limits.
func lines(t require.TestingT, s Socket) ReaderConfig {
	return ReaderConfig{
		Socket: s, Framing: delimited(t, "\n", 0), ReadSize: 1 << 20, Memory: NewMemory(0), SetDeadline: func(time.Time) {},
	}
}

// pieces is a Socket that delivers its slices one by one, each as far as there is space, and then its error.
type pieces struct {
	left  [][]byte
	end   error
	reads int
	first int // 0: portableFirstSize
}

func (p *pieces) firstSize() int { return max(p.first, portableFirstSize) }

func (p *pieces) fill(r *Reader, wait bool) error {
	p.reads++
	if len(p.left) == 0 {
		if !wait {
			return nil
		}
		return p.end
	}
	space, err := r.space()
	if err != nil {
		return err
	}
	n := copy(space, p.left[0])
	r.arrived(n)
	if p.left[0] = p.left[0][n:]; len(p.left[0]) == 0 {
		p.left = p.left[1:]
	}
	return nil
}

func (*pieces) isUnfinished() bool           { return false }
func (*pieces) untaken() int                 { return 0 }
func (*pieces) waitGone() error              { panic("not waited for") }
func (*pieces) writeNow([]byte) (int, error) { panic("not written to") }
func (*pieces) overTLS(*SecureSocket) Socket { panic("without TLS") }

// readAll returns copies of all packets of r, whether the last one is a tail, and the error behind it.
func readAll(r *Reader) (packets []string, tail bool, err error) {
	for {
		packet, isTail, err := r.Next()
		if err != nil {
			return packets, tail, err
		}
		if packet == nil {
			return packets, tail, errors.New("a packet that is nil")
		}
		packets, tail = append(packets, string(packet)), tail || isTail
	}
}

// tcpPair is a connection over the loopback: the server's side and the client's.
func tcpPair(t testing.TB) (server net.Conn, client *net.TCPConn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	dialed, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	server, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { server.Close(); dialed.Close() })
	return server, dialed.(*net.TCPConn)
}

func requireEventually(t *testing.T, condition func() bool, message ...any) {
	t.Helper()
	require.Eventually(t, condition, time.Minute, time.Millisecond, message...)
}

func requirePacket(t *testing.T, r *Reader, want string) {
	t.Helper()
	packet, _, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, want, string(packet))
}
