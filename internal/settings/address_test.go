package settings

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseAddress(t *testing.T) {
	for addr, want := range map[string]address{
		"tcp://127.0.0.1:7777": {"tcp4", "127.0.0.1:7777"},
		"127.0.0.1:7777":       {"tcp4", "127.0.0.1:7777"},
		":7777":                {"tcp", ":7777"},
		"tcp://:0":             {"tcp", ":0"},
		"0.0.0.0:1":            {"tcp4", "0.0.0.0:1"},
		"[::]:1":               {"tcp", "[::]:1"},
		"tcp://[::1]:7777":     {"tcp", "[::1]:7777"},
		"[::1]:07777":          {"tcp", "[::1]:7777"},
		"localhost:1":          {"tcp", "localhost:1"},
		"TCP://127.0.0.1:1":    {"tcp4", "127.0.0.1:1"},
		"unix:///run/a.sock":   {"unix", "/run/a.sock"},
		"unix://a.sock":        {"unix", "a.sock"},
	} {
		got, err := parseAddress(addr)
		require.NoError(t, err, addr)
		require.Equal(t, want, got, addr)
	}
}

func TestParseAddressErrors(t *testing.T) {
	for addr, want := range map[string]string{
		"":                      `is empty; want "tcp://host:port", "host:port", ":port" or "unix:///path.sock"`,
		"  ":                    `is empty; want`,
		"udp://127.0.0.1:1":     `unknown scheme "udp"`,
		"tls://127.0.0.1:1":     `unknown scheme "tls"`,
		"unix://":               `has no path`,
		"unix:/a.sock":          `is a path without its scheme; want`,
		"/a.sock":               `is a path without its scheme; want`,
		"127.0.0.1":             `missing port`,
		"tcp://127.0.0.1":       `missing port`,
		"127.0.0.1:":            `has the port ""`,
		"127.0.0.1:65536":       `has the port "65536"; want a number from 0 to 65535`,
		"127.0.0.1:-1":          `has the port "-1"`,
		"127.0.0.1:smtp":        `has the port "smtp"`,
		"::1:7777":              `too many colons`,
		"tcp://127.0.0.1:1/x":   `has the port "1/x"`,
		"tcp://tcp://1.1.1.1:1": `too many colons`,
	} {
		_, err := parseAddress(addr)
		require.ErrorContains(t, err, want, "%q", addr)
	}
}

// The system would say "invalid argument", when RoadRunner starts.
func TestPathThatNoSystemTakes(t *testing.T) {
	_, err := parseAddress("unix:///" + strings.Repeat("x", maxUnixPath-2))
	require.NoError(t, err)
	_, err = parseAddress("unix:///" + strings.Repeat("x", maxUnixPath-1))
	require.ErrorContains(t, err, fmt.Sprintf(`xxx" has a path of %d bytes; the system takes fewer than %[1]d`, maxUnixPath))
}

func TestAddressesCollide(t *testing.T) {
	for addrs, want := range map[[2]string]bool{
		{"127.0.0.1:25", "localhost:25"}:        true,
		{"LOCALHOST:25", "localhost:25"}:        true,
		{":25", "127.0.0.1:25"}:                 true,
		{":25", "[::]:25"}:                      true,
		{":25", "0.0.0.0:25"}:                   true,
		{"0.0.0.0:25", "127.0.0.1:25"}:          true,
		{"[::1]:25", "[0:0:0:0:0:0:0:1]:25"}:    true,
		{"[::1]:25", ":25"}:                     true,
		{"[::1]:25", "0.0.0.0:25"}:              false,
		{"127.0.0.1:25", "127.0.0.2:25"}:        false,
		{"127.0.0.1:25", "127.0.0.1:26"}:        false,
		{":0", ":0"}:                            false,
		{"unix:///a/b", "unix:///a/../a/b"}:     true,
		{"unix:///a", "unix:///b"}:              false,
		{"unix://:25", ":25"}:                   false,
		{"[::ffff:127.0.0.1]:25", ":25"}:        true,
		{"[::ffff:127.0.0.1]:25", "[::1]:25"}:   false,
		{"[::ffff:127.0.0.1]:1", "127.0.0.1:1"}: true,
		{"mail.example:25", "MAIL.example:25"}:  true,
		{"mail.example:25", "other.example:25"}: false,
		{"mail.example:25", ":25"}:              false, // which only a resolver knows
	} {
		a, err := parseAddress(addrs[0])
		require.NoError(t, err)
		b, err := parseAddress(addrs[1])
		require.NoError(t, err)
		require.Equal(t, want, a.collides(b), "%v", addrs)
		require.Equal(t, want, b.collides(a), "%v", addrs)
	}
	require.False(t, address{}.collides(address{}), "two that could not be read")
}

func FuzzParseAddress(f *testing.F) {
	for _, addr := range []string{"tcp://127.0.0.1:1", ":1", "unix:///a", "[::1]:2", "", "://", "tcp://", "::"} {
		f.Add(addr)
	}
	f.Fuzz(func(t *testing.T, addr string) {
		a, err := parseAddress(addr)
		if err != nil {
			return
		}
		again, err := parseAddress(strings.TrimSuffix(a.network, "4") + "://" + a.address)
		require.NoError(t, err)
		require.Equal(t, a, again)
	})
}
