package tests

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDialects(t *testing.T) {
	t.Parallel()
	for dialect, last := range map[string]string{"": "CLOSE", "released": "CLOSE", "documented": "CLOSED"} {
		t.Run("dialect "+dialect, func(t *testing.T) {
			t.Parallel()
			yaml := minimal
			if dialect != "" {
				yaml += "  dialect: " + dialect + "\n"
			}
			h := start(t, yaml)
			c := h.dial("echo")
			c.send("one")
			write(c, "tail")
			c.closeWrite()
			require.Equal(t, "one\r\ntail", c.rest())

			remote := c.LocalAddr().String()
			if dialect == "documented" {
				remote = "127.0.0.1"
			}
			for uuid, seen := range h.record.all(t, 1) {
				require.Equal(t, []string{"CONNECTED", "DATA", "DATA", last}, seen.events)
				require.Equal(t, remote, seen.RemoteAddr)
				// Exactly these keys.
				head := fmt.Sprintf(`{"remote_addr":%q,"server":"echo","uuid":%q,"event":`, remote, uuid)
				for i, want := range []string{
					fmt.Sprintf(`"CONNECTED","local_addr":%q}`, c.RemoteAddr()), `"DATA"}`, `"DATA","eof":true}`,
					fmt.Sprintf(`%q,"reason":"eof","bytes_read":9,"bytes_written":9,"seconds":0}`, last),
				} {
					got := seconds.ReplaceAllString(string(h.record.entries[i].Context), `"seconds":0`)
					require.JSONEq(t, head+want, got)
				}
			}
		})
	}
}

var seconds = regexp.MustCompile(`"seconds":[0-9.]+`)

func unixServer(path string) string {
	return fmt.Sprintf("tcp:\n  pool: {num_workers: 1}\n  servers: {echo: {addr: \"unix://%s\"}}\n", path)
}

func TestUnixSockets(t *testing.T) {
	t.Parallel()
	t.Run("a client is @, and the file is gone at stop", func(t *testing.T) {
		t.Parallel()
		path := shortDir(t) + "/socket"
		h := start(t, unixServer(path))
		c := h.dial("echo")
		require.Equal(t, "hello", c.ask("hello"))
		require.NoError(t, c.Close())
		for _, seen := range h.record.all(t, 1) {
			require.Equal(t, "@", seen.RemoteAddr)
		}
		h.stop()
		require.NoFileExists(t, path)
	})

	t.Run("a stale file is replaced", func(t *testing.T) {
		t.Parallel()
		path := shortDir(t) + "/socket"
		l, err := net.Listen("unix", path)
		require.NoError(t, err)
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		require.NoError(t, l.Close())
		require.FileExists(t, path)

		h := start(t, unixServer(path))
		require.Equal(t, "hello", h.dial("echo").ask("hello"))
	})

	t.Run("a live one is an error and stays alive", func(t *testing.T) {
		t.Parallel()
		path := shortDir(t) + "/socket"
		l, err := net.Listen("unix", path)
		require.NoError(t, err)
		t.Cleanup(func() { _ = l.Close() })

		requireOneLine(t, newHost(t, shortDir(t)).failedStart(unixServer(path)), "echo", path, "address already in use")
		conn, err := net.Dial("unix", path)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	})

	t.Run("a file that is no socket is an error and stays", func(t *testing.T) {
		t.Parallel()
		path := shortDir(t) + "/socket"
		require.NoError(t, os.WriteFile(path, []byte("precious"), 0o600))
		says := newHost(t, shortDir(t)).failedStart(unixServer(path))
		require.Contains(t, says, "echo")
		require.Contains(t, says, path)
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, "precious", string(content))
	})
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	hasIPv6 := false
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
		hasIPv6 = true
		require.NoError(t, l.Close())
	}

	for addr, test := range map[string]struct {
		hosts []string
		ipv6  bool
	}{
		"127.0.0.1:0":       {[]string{"127.0.0.1"}, false},
		"tcp://127.0.0.1:0": {[]string{"127.0.0.1"}, false},
		"localhost:0":       {[]string{"localhost"}, false},
		"tcp://localhost:0": {[]string{"localhost"}, false},
		":0":                {[]string{"127.0.0.1", "::1"}, true},
		"tcp://:0":          {[]string{"127.0.0.1", "::1"}, true},
		"tcp://[::1]:0":     {[]string{"::1"}, true},
		"[::1]:0":           {[]string{"::1"}, true},
	} {
		t.Run(addr, func(t *testing.T) {
			t.Parallel()
			if test.ipv6 && !hasIPv6 {
				t.Skip("no IPv6 here")
			}
			h := start(t, strings.Replace(minimal, "127.0.0.1:0", addr, 1))
			bound := h.addr("echo")
			_, port, err := net.SplitHostPort(bound.String())
			require.NoError(t, err)
			require.NotEqual(t, "0", port)
			for _, host := range test.hosts {
				c := dial(t, "tcp", net.JoinHostPort(host, port))
				require.Equal(t, "hello", c.ask("hello"), host)
			}
			listening := h.logged("tcp", "listening")
			require.Len(t, listening, 1)
			require.Equal(t, "tcp://"+bound.String(), listening[0].Addr)
			require.Equal(t, "echo", listening[0].Server)

			h.stop()
			require.True(t, h.refuses("echo"))
		})
	}
}
