package server

import (
	"io"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"
	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/telemetry"
	"github.com/rrtcp/tcp/internal/wire"
)

// With untrusted: direct a client that comes around the proxy is served as itself: its header is a packet.
func TestUntrustedAreServedDirectly(t *testing.T) {
	for _, direct := range []bool{true, false} {
		w := newScript()
		l := testListener(w)
		l.proxyProtocol, l.limiters = trusting(t, "10.0.0.0/8"), [2]*connLimiter{newConnLimiter(0), newConnLimiter(0)}
		if direct {
			l.proxyProtocol.Untrusted = "direct"
		}
		l.byIP.limit = 1
		l.untrusted = telemetry.NewThrottledLog(func(int) {})
		l.overIP = telemetry.NewThrottledLog(func(int) {})
		server, client := tcpPair(t)
		l.admit(server)
		if !direct {
			require.Empty(t, allFrom(client))
			require.EqualValues(t, 1, l.stats.Refusals(telemetry.RefusedProxy))
			continue
		}
		e := receive(t, w.events)
		require.Equal(t, client.LocalAddr().String(), e.context["remote_addr"])
		require.NotContains(t, e.context, "proxy")
		w.replies(reply("CONTINUE", ""))
		_, err := client.Write([]byte(proxyHeaderOf4))
		require.NoError(t, err)
		require.Equal(t, proxyHeaderOf4, receive(t, w.events).body)

		second, refused := tcpPair(t)
		l.admit(second)
		require.Empty(t, allFrom(refused), "its address counts for max_connections_per_ip")
		w.replies(reply("CLOSE", ""))
		receive(t, w.events)
		l.registry.wait()
	}
}

// A proxy hands on the server name that its client has sent.
func TestLargeProxyHeaderIsMemory(t *testing.T) {
	for limit, reason := range map[int64]wire.Reason{300 << 10: wire.ReasonMemory, 1 << 20: wire.ReasonEOF} {
		l := testListener(&replies{})
		l.proxyProtocol, l.memory = trusting(t, "127.0.0.0/8"), stream.NewMemory(limit)
		server, client := tcpPair(t)
		c, ended := l.serveConn(server)
		authority := strings.Repeat("\x01", 40_000)
		header := proxyproto.HeaderProxyFromAddrs(2, client.LocalAddr(), client.RemoteAddr())
		require.NoError(t, header.SetTLVs([]proxyproto.TLV{{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte(authority)}}))
		_, err := header.WriteTo(client)
		require.NoError(t, err)
		require.NoError(t, client.CloseWrite())
		receive(t, ended)
		require.Equal(t, reason, c.reason)
		require.Equal(t, reason == wire.ReasonEOF, c.connected)
		require.Zero(t, l.memory.Used())
	}
}

const proxyHeaderOf4 = "PROXY TCP4 192.0.2.1 192.0.2.2 12345 25\r\n"

// allFrom returns what comes until the end.
func allFrom(conn io.Reader) string {
	b, _ := io.ReadAll(conn)
	return string(b)
}
