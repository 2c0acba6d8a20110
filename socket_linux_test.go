package tcp

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
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
		batch, tail, err := await(r)
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

// attended is a connection that has had enough packets to save the reads which find nothing. received counts all of them.
func attended(t *testing.T, w workers) (client *net.TCPConn, m *memory, received *atomic.Int64, ended chan struct{}) {
	server, client := tcpPair(t)
	require.NoError(t, client.SetDeadline(time.Now().Add(10*time.Second)))
	c := testListener(w, zap.NewNop()).newConnection(server)
	received = new(atomic.Int64)
	s := c.packets.socket.(*kernelSocket)
	s.receive = func(fd uintptr, p []byte, tells bool) (int, bool, error) {
		received.Add(1)
		return receive(fd, p, tells)
	}
	ended = make(chan struct{})
	go func() { defer close(ended); c.serve(func() {}) }()
	return client, c.packets.memory, received, ended
}

func TestAPacketTakesOneRead(t *testing.T) {
	if !tellsOfEnd() {
		t.Skip("two, on a system that does not tell of the end of the stream")
	}
	client, m, received, ended := attended(t, answers{context: []byte("WRITE"), body: []byte("x\r\n")})
	answer := make([]byte, 3)
	_, err := io.ReadFull(client, answer) // to CONNECTED
	require.NoError(t, err)
	ask := func() {
		_, err := client.Write(answer)
		require.NoError(t, err)
		_, err = io.ReadFull(client, answer)
		require.NoError(t, err)
	}
	for range brief {
		ask()
	}
	const packets = 1000
	before := received.Load()
	for range packets {
		ask()
	}
	require.InDelta(t, packets, received.Load()-before, packets/20)

	_, err = client.Write([]byte(x(60_000) + "\r\ny"))
	require.NoError(t, err)
	_, err = io.ReadFull(client, answer)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return m.used.Load() <= firstBuffer }, 5*time.Second, time.Millisecond,
		"what waits for the rest of y holds %d bytes", m.used.Load())
	client.Close()
	<-ended
}

// The end of the connection comes with a packet, and what tells of both is one event.
func TestTheEndThatComesWithAPacketIsNotMissed(t *testing.T) {
	for end, held := range map[string]string{"FIN": "WRITE", "RST": "CONTINUE"} { // which is what begins a wait without a look
		for _, word := range []string{"WRITE", "CONTINUE"} {
			t.Run(end+" "+word, func(t *testing.T) {
				s := &script{events: make(chan scriptedEvent), answer: make(chan func() (answer, error)), log: new([]string)}
				client, _, _, ended := attended(t, s)
				reply := func(word string) {
					s.answer <- func() (answer, error) { return answer{context: []byte(word), body: []byte("y")}, nil }
				}
				<-s.events
				reply("WRITE")
				for range brief + 1 {
					_, err := client.Write([]byte("x\r\n"))
					require.NoError(t, err)
					<-s.events
					reply("WRITE")
					time.Sleep(time.Millisecond) // until it waits
				}

				_, err := client.Write([]byte("x\r\n"))
				require.NoError(t, err)
				<-s.events
				_, err = client.Write([]byte("z\r\n")) // meanwhile
				require.NoError(t, err)
				if end == "FIN" {
					require.NoError(t, client.CloseWrite())
				} else {
					require.NoError(t, client.SetLinger(0))
					require.NoError(t, client.Close())
				}
				time.Sleep(20 * time.Millisecond) // until the runtime has heard of both
				reply(held)
				for open := true; open; {
					select {
					case e := <-s.events:
						if e.context["event"] != "CLOSE" {
							reply(word)
						}
					case <-ended:
						open = false
					case <-time.After(5 * time.Second):
						t.Fatal("the end was missed")
					}
				}
			})
		}
	}
}

func TestSinceWhenLinuxTellsOfTheEnd(t *testing.T) {
	for release, want := range map[string]bool{
		"5.1.0": true, "6.18.44-fc-v669": true, "5.10.0-8-amd64": true, "10.0": true, // 4.4.0 is what gVisor says
		"5.0.21": false, "4.19.0": false, "4.18.0-553.el8_10.x86_64": false, "4.4.0": false, "": false, "six": false,
	} {
		require.Equal(t, want, isSince51(release), release)
	}
}

func TestDescriptorsThatAUnixClientSendsAreNotTaken(t *testing.T) {
	addr := address{network: "unix", address: filepath.Join(t.TempDir(), "s")}
	l, err := bind(addr, false)
	require.NoError(t, err)
	defer l.Close()
	client, err := net.Dial("unix", addr.address)
	require.NoError(t, err)
	defer client.Close()
	require.NoError(t, client.SetDeadline(time.Now().Add(10*time.Second)))
	server, err := l.Accept()
	require.NoError(t, err)
	_, ended := serveWith(answers{context: []byte("WRITE"), body: []byte("x\r\n")}, server)
	answer := make([]byte, 3)
	_, err = io.ReadFull(client, answer) // to CONNECTED
	require.NoError(t, err)

	before := descriptors(t)
	for range 2 * brief {
		_, _, err := client.(*net.UnixConn).WriteMsgUnix([]byte("x\r\n"), syscall.UnixRights(0), nil)
		require.NoError(t, err)
		_, err = io.ReadFull(client, answer)
		require.NoError(t, err)
	}
	require.Equal(t, before, descriptors(t))
	client.Close()
	<-ended
}

func descriptors(t *testing.T) int {
	open, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(open)
}
