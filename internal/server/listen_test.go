package server

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestListenReplacesStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	stale.SetUnlinkOnClose(false)
	_, err = listen("unix", path, false)
	require.ErrorContains(t, err, "another process listens there")
	require.NoError(t, stale.Close())
	require.FileExists(t, path)

	socket, err := listen("unix", path, true)
	require.NoError(t, err)
	conn, err := net.Dial("unix", path)
	require.NoError(t, err)
	conn.Close()
	require.NoError(t, socket.Close())
	require.NoFileExists(t, path)

	require.NoError(t, os.WriteFile(path, []byte("mine"), 0o600))
	_, err = listen("unix", path, false)
	require.ErrorContains(t, err, "is a file that is no socket")
	require.FileExists(t, path)
}

func TestListenRemovesItsOwnSocketOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	first, err := listen("unix", path, false)
	require.NoError(t, err)
	require.NoError(t, os.Remove(path)) // as a start script does that knows of no other process
	second, err := listen("unix", path, false)
	require.NoError(t, err)
	require.NoError(t, first.Close())
	conn, err := net.Dial("unix", path)
	require.NoError(t, err, "the first one must not take away the socket of the second")
	conn.Close()
	require.NoError(t, second.Close())
	require.NoFileExists(t, path)

	third, err := listen("unix", path, false)
	require.NoError(t, err)
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.WriteFile(path, []byte("mine"), 0o600))
	require.NoError(t, third.Close())
	require.FileExists(t, path)
	require.ErrorIs(t, third.Close(), net.ErrClosed, "a second time")
}

func TestListenSharesPort(t *testing.T) {
	first, err := listen("tcp", "127.0.0.1:0", true)
	if err != nil {
		t.Skip("no SO_REUSEPORT: ", err)
	}
	defer first.Close()
	second, err := listen("tcp", first.Addr().String(), true)
	require.NoError(t, err)
	defer second.Close()
	_, err = listen("tcp", first.Addr().String(), false)
	require.Error(t, err)
}

func TestClientAddress(t *testing.T) {
	for want, a := range map[string]net.Addr{
		"127.0.0.1:5": &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5},
		"[::1]:5":     &net.TCPAddr{IP: net.IPv6loopback, Port: 5},
		"/run/a":      &net.UnixAddr{Name: "/run/a", Net: "unix"},
	} {
		require.Equal(t, want, clientAddress(a))
	}
	require.Equal(t, "@", clientAddress(&net.UnixAddr{Net: "unix"}), "a unix socket's client has no name")
	require.Equal(t, "@", clientAddress(nil))
}

// A client has no choice of a protocol in which limits do not count, also where Go would give it one, as programs of Go 1.24 and later do.
func TestListenersAreNoMultipathTCP(t *testing.T) {
	t.Setenv("GODEBUG", "multipathtcp=1")
	for _, shared := range []bool{false, true} {
		socket, err := listen("tcp", "127.0.0.1:0", shared)
		require.NoError(t, err)
		defer socket.Close()
		var dialer net.Dialer
		dialer.SetMultipathTCP(true)
		client, err := dialer.DialContext(context.Background(), "tcp", socket.Addr().String())
		require.NoError(t, err)
		defer client.Close()
		server, err := socket.Accept()
		require.NoError(t, err)
		defer server.Close()
		isMultipath, err := server.(*net.TCPConn).MultipathTCP()
		require.NoError(t, err)
		require.False(t, isMultipath)
	}
}
