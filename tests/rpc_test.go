package tests

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/roadrunner-server/goridge/v3/pkg/frame"
	"github.com/roadrunner-server/goridge/v3/pkg/socket"
	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"
)

const withRPC = `
tcp:
  servers: {echo: {addr: "127.0.0.1:0"}}
  pool: {num_workers: 1}
`

// callFrame calls a method as programs in other languages do. The text is that of an error frame.
func (h *host) callFrame(codec byte, method string, argument []byte) (answer []byte, text string) {
	h.t.Helper()
	conn, err := net.DialTimeout("unix", h.dir+"/rpc", patience)
	require.NoError(h.t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(h.t, conn.SetDeadline(time.Now().Add(patience)))
	relay := socket.NewSocketRelay(conn)

	const sequence = 7
	out := frame.NewFrame()
	out.WriteOptions(out.HeaderPtr(), sequence, uint32(len(method)))
	out.WriteVersion(out.Header(), frame.Version1)
	out.WriteFlags(out.Header(), codec)
	payload := append([]byte(method), argument...)
	out.WritePayloadLen(out.Header(), uint32(len(payload)))
	out.WritePayload(payload)
	out.WriteCRC(out.Header())
	require.NoError(h.t, relay.Send(out))

	in := frame.NewFrame()
	require.NoError(h.t, relay.Receive(in))
	options := in.Header()[12:]
	require.EqualValues(h.t, sequence, binary.LittleEndian.Uint32(options))
	body, ok := bytes.CutPrefix(in.Payload(), []byte(method))
	require.True(h.t, ok)
	if in.ReadFlags()&frame.ERROR != 0 {
		return nil, string(body)
	}
	return body, ""
}

const stranger = "7f4df7c5-1f0e-4a2e-9a1e-6a4d5b3c2b1a" // a uuid that nobody has

func TestRPCCloseCodecs(t *testing.T) {
	t.Parallel()
	h := start(t, withRPC, "connected=hello")
	closeByFrame := func(codec byte, marshal func(any) ([]byte, error), unmarshal func([]byte, any) error) func(string) (bool, string) {
		return func(uuid string) (bool, string) {
			argument, err := marshal(uuid)
			require.NoError(t, err)
			body, text := h.callFrame(codec, "tcp.Close", argument)
			var closed bool
			if text == "" {
				require.NoError(t, unmarshal(body, &closed))
			}
			return closed, text
		}
	}

	for codec, closeIt := range map[string]func(uuid string) (closed bool, text string){
		"gob": func(uuid string) (bool, string) {
			var closed bool
			if err := h.call("tcp.Close", uuid, &closed); err != nil {
				return closed, err.Error()
			}
			return closed, ""
		},
		"JSON":    closeByFrame(frame.CodecJSON, json.Marshal, json.Unmarshal),
		"msgpack": closeByFrame(frame.CodecMsgpack, msgpack.Marshal, msgpack.Unmarshal),
	} {
		t.Run(codec, func(t *testing.T) {
			c := h.dialFrom(t, "echo")
			uuid := c.receive()

			for _, wrong := range []string{"", "7", "smtp", uuid[1:]} {
				closed, text := closeIt(wrong)
				require.False(t, closed)
				require.Contains(t, text, "uuid", "%q", wrong)
			}
			require.Equal(t, "still here", c.ask("still here"))

			closed, text := closeIt(uuid)
			require.True(t, closed)
			require.Empty(t, text)
			c.requireEnd()
			require.Equal(t, "rpc", h.record.of(t, c).Reason)

			for _, gone := range []string{uuid, stranger} {
				closed, text := closeIt(gone)
				require.True(t, closed)
				require.Empty(t, text)
			}
		})
	}
}

func TestRPCClose(t *testing.T) {
	t.Parallel()
	g, at := newGate(t)
	h := start(t, withRPC, "connected=hello", at)
	closeIt := h.closeConnection

	t.Run("with a packet begun: it is not taken for the tail of a stream", func(t *testing.T) {
		for range 20 {
			c := h.dial("echo")
			uuid := c.receive()
			write(c, "half a pack")
			c.awaitRead()
			closeIt(uuid)
			c.requireEnd()
			seen := h.record.of(t, c)
			require.Equal(t, "rpc", seen.Reason)
			require.Empty(t, seen.packets)
		}
	})

	t.Run("in an exchange: cut off at once, a reply that comes later is discarded", func(t *testing.T) {
		for _, reply := range []string{"echo", "answer WRITECLOSE bye", "error no", "exit"} {
			c := h.dial("echo")
			uuid := c.receive()
			c.send("!gate " + reply)
			v := g.next()
			closeIt(uuid)
			c.requireEnd() // though the worker still has the event
			closeIt(uuid)
			v.release()
			seen := h.record.of(t, c)
			require.Equal(t, "rpc", seen.Reason, reply)
			require.Equal(t, []string{"CONNECTED", "DATA", "CLOSE"}, seen.events)
		}
	})

	t.Run("waiting for a worker: the packet is not handed over", func(t *testing.T) {
		busy, waiting := h.dial("echo"), h.dial("echo")
		busy.receive()
		uuid := waiting.receive()
		busy.send("!gate echo")
		v := g.next()
		waiting.send("never seen")
		waiting.awaitRead()
		closeIt(uuid)
		waiting.requireEnd()
		v.release()
		require.Equal(t, "!gate echo", busy.receive())
		seen := h.record.of(t, waiting)
		require.Equal(t, []string{"CONNECTED", "CLOSE"}, seen.events)
		require.Equal(t, "rpc", seen.Reason)
	})

	t.Run("while an answer is being written", func(t *testing.T) {
		c := h.dial("echo")
		uuid := c.receive()
		require.NoError(t, c.Conn.(*net.TCPConn).SetReadBuffer(4096))
		c.send("!bytes WRITE 16000000") // more than any socket takes
		h.record.await(t, "the worker has answered", func() bool {
			s := h.record.sentences[uuid]
			return s != nil && len(s.events) == 2 && s.inFlight == nil
		})
		closeIt(uuid)
		require.Equal(t, "rpc", h.record.of(t, c).Reason)
	})

	t.Run("while a client that got its last answer does not close", func(t *testing.T) {
		c := h.dial("echo")
		uuid := c.receive()
		c.send("!answer WRITECLOSE bye")
		require.Equal(t, "bye\r\n", c.rest())
		closeIt(uuid)
		require.Equal(t, "worker", h.record.of(t, c).Reason, "the first reason counts")
	})

	t.Run("in capitals", func(t *testing.T) {
		c := h.dial("echo")
		uuid := c.receive()
		closeIt(strings.ToUpper(uuid))
		c.requireEnd()
		require.Equal(t, "rpc", h.record.of(t, c).Reason)
	})
}
