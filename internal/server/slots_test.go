package server

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/settings"
)

// A connection whose handshake fails leaves its place: for max_connections, of the server and of all, and for
// max_connections_per_ip.
func TestFailedHandshakeLeavesPlace(t *testing.T) {
	limit := 10
	p := startPlugin(t, settings.Config{MaxConnections: 10, Servers: map[string]*settings.Server{"a": {
		Addr: "127.0.0.1:0", TLS: testTLS(t), MaxConnections: 10, Limits: settings.Limits{MaxConnectionsPerIP: &limit},
	}}})
	for range 3 {
		c := p.dial("a")
		_, err := io.WriteString(c, "no client hello\r\n")
		require.NoError(t, err)
		_ = c.rest()
	}
	l := p.listeners[0]
	requireEventually(t, func() bool { _, closed := l.stats.Connections(); return closed[namedReason("handshake")] == 3 })
	for _, limiter := range l.limiters {
		requireEventually(t, func() bool {
			limiter.mu.Lock()
			defer limiter.mu.Unlock()
			return limiter.open == 0
		})
	}
	l.byIP.mu.Lock()
	defer l.byIP.mu.Unlock()
	require.Empty(t, l.byIP.open)
}
