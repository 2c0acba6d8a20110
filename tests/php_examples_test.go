package tests

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// exchange sends bytes and wants exactly these in answer.
func (c *client) exchange(t *testing.T, sent, want string) {
	t.Helper()
	write(c, sent)
	got := make([]byte, len(want))
	_, err := io.ReadFull(c, got)
	require.NoError(t, err)
	require.Equal(t, want, string(got))
}

func TestMLLPExample(t *testing.T) {
	t.Parallel()
	h := startExample(t, "mllp")
	c := h.dial("hl7")
	write(c, "\vMSH|^~\\&|ADT1|MCM|LABADT|MCM|198808181126|SECURITY|ADT^A01|MSG00001|P|2.3\rEVN|A01|198808181123\r\x1c\r")
	got := c.receiveUntil(t, "\x1c\r")
	require.Regexp(t, "^\vMSH\\|\\^~\\\\&\\|\\|\\|ADT1\\|MCM\\|\\d{14}\\|\\|ACK\\|MSG00001\\|P\\|2\\.5\rMSA\\|AA\\|MSG00001\r\x1c\r$", got)
	write(c, "\vhello\x1c\r")
	require.Contains(t, c.receiveUntil(t, "\x1c\r"), "\rMSA|AR|\r")
	message := "\vMSH|^~\\&|A|B|C|D|1||ADT^A01|MSG2|P|2.3\r\x1c\r\n" // an end of line too many
	for range 2 {
		write(c, message)
		require.Contains(t, c.receiveUntil(t, "\x1c\r"), "\rMSA|AA|MSG2\r")
	}
	write(c, "\v\x1c\r") // nothing at all
	require.Contains(t, c.receiveUntil(t, "\x1c\r"), "\rMSA|AR|\r")
	eventually(t, "it is logged", func() bool { return len(h.logged("server", `MSG00001`)) == 1 })
	require.Empty(t, h.ours("error"))
}

// receiveUntil reads up to the bytes that end an answer.
func (c *client) receiveUntil(t *testing.T, end string) string {
	t.Helper()
	var got strings.Builder
	for b := make([]byte, 1); !strings.HasSuffix(got.String(), end); {
		_, err := io.ReadFull(c, b)
		require.NoError(t, err, got.String())
		got.Write(b)
	}
	return got.String()
}

func TestRedisExample(t *testing.T) {
	t.Parallel()
	h := startExample(t, "redis")
	c := h.dial("redis")
	c.exchange(t, "*1\r\n$4\r\nPING\r\n", "+PONG\r\n")
	c.exchange(t, "*3\r\n$3\r\nset\r\n$1\r\nk\r\n$4\r\n\xff\r\n*\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "+OK\r\n$4\r\n\xff\r\n*\r\n")
	half := h.dial("redis") // commands in pieces
	write(half, "*2\r\n$3\r\nGET\r\n")
	c.exchange(t, "*2\r\n$3\r\nDEL\r\n$1\r\nx\r\n", ":0\r\n")
	half.exchange(t, "$1\r\nk\r\n", "$4\r\n\xff\r\n*\r\n")
	c.exchange(t, "*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$3\r\nFOO\r\n", ":1\r\n$-1\r\n-ERR unknown command\r\n")
	c.exchange(t, "*0\r\n"+respCommand("SET", "k", "v", "EX", "9")+respCommand("LPUSH", "k", "1", "2"),
		"-ERR wrong number of arguments\r\n-ERR unknown command\r\n")
	large := strings.Repeat("x", 12_000)
	c.exchange(t, respCommand("SET", "k", large)+respCommand("GET", "k"), "+OK\r\n$12000\r\n"+large+"\r\n")
	part := "*9\r\n" + strings.Repeat("$12000\r\n"+large+"\r\n", 8) // more than a state takes
	for _, wrong := range []string{"*1\r\n:1\r\n", "*x\r\n", "*-1\r\n", "*1000\r\n", "*1\r\n+PING\r\n", part} {
		other := h.dial("redis")
		write(other, respCommand("PING")+wrong)
		require.Equal(t, "+PONG\r\n-ERR Protocol error\r\n", other.rest(), "%.20q", wrong)
	}
	write(half, "GET / HTTP/1.1\r\n")
	require.Equal(t, "-ERR Protocol error\r\n", half.rest())
	write(c, "*1\r\n$4\r\nQUIT\r\n")
	require.Equal(t, "+OK\r\n", c.rest())

	t.Run("from redis-cli", func(t *testing.T) {
		cli := installed(t, "redis-cli")
		host, port, _ := strings.Cut(h.addr("redis").String(), ":")
		out, err := exec.Command(cli, "-2", "-h", host, "-p", port, "set", "name", "Bob").CombinedOutput()
		require.NoError(t, err)
		require.Equal(t, "OK\n", string(out))
	})
	require.Empty(t, h.ours("error"))
}

// respCommand is a command as RESP 2 has it.
func respCommand(words ...string) string {
	command := fmt.Sprintf("*%d\r\n", len(words))
	for _, word := range words {
		command += fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)
	}
	return command
}

func TestTrackersExample(t *testing.T) {
	t.Parallel()
	h := startExample(t, "trackers")
	one := h.dial("teltonika")
	one.exchange(t, "\x00\x0f356307042441013", "\x01")
	one.exchange(t, "\xff"+unhex(t, teltonika), "\x00\x00\x00\x01")
	one.exchange(t, "\x00\x0f356307042441013", "\x01") // as at the beginning, and no records
	for _, wrong := range []string{"\x00\x03you", "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x11\x22"} {
		write(one, wrong)
		require.Empty(t, one.rest(), "nothing was taken")
		one = h.dial("teltonika") // a stranger
		write(one, "\xff"+wrong)
		require.Empty(t, one.rest())
		one = h.dial("teltonika")
		one.exchange(t, "\x00\x0f356307042441013", "\x01")
	}

	other := h.dial("gt06") // packets and answers of the maker's documentation
	other.exchange(t, unhex(t, "78780d01012345678901234500018cdd0d0a"), unhex(t, "787805010001d9dc0d0a"))
	write(other, unhex(t, "78781f120b081d112e10cf027ac7eb0c46584900148f01cc00287d001fb8000380810d0a"))
	other.exchange(t, unhex(t, "78780a134b040300010011061f0d0a"), unhex(t, "787805130011f9700d0a"))
	zero := h.dial("gt06") // a number that begins with 0
	zero.exchange(t, unhex(t, "78780d01001234567890123400018cdd0d0a"), unhex(t, "787805010001d9dc0d0a"))
	zero.exchange(t, unhex(t, "78780a134b040300010011061f0d0a"), unhex(t, "787805130011f9700d0a"))
	write(zero, unhex(t, "78781f120b081d112e10cf027ac7eb0c46584900148f01cc00287d001fb8000380810d0a"))
	eventually(t, "its number", func() bool { return len(h.logged("server", "gt06 012345678901234: ")) == 1 })
	for _, line := range []string{"teltonika 356307042441013: 1 records", "gt06 123456789012345: 0b081d112e10cf027ac7eb0c46584900148f"} {
		eventually(t, line, func() bool { return len(h.logged("server", line)) == 1 })
	}
	require.Empty(t, h.ours("error"))
}

// examples/README.md has a line for each example, with the command that starts it.
func TestExamplesREADME(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(repository + "/examples/README.md")
	require.NoError(t, err)
	listed := make(map[string]bool) // configurations, from the repository's root
	for _, row := range regexp.MustCompile("(?m)^\\|[^|]*\\| (\\S+|the checkout) \\| `([^`]*)`").FindAllStringSubmatch(string(content), -1) {
		folder := "examples"
		if l := link.FindStringSubmatch(row[1]); l != nil {
			folder = filepath.Join(folder, l[1])
		} else if row[1] == "the checkout" {
			folder = "."
		}
		_, config, ok := strings.Cut(row[2], "rrtcp serve -c ")
		if !ok {
			config = strings.Fields(row[2])[0] // a script
		}
		_, err := os.Stat(filepath.Join(repository, folder, config))
		require.NoError(t, err, row[0])
		listed[filepath.Join(folder, config)] = true
	}
	require.True(t, listed["examples/cluster/run.sh"])
	for _, pattern := range []string{"examples/*.rr.yaml", "examples/p*/*.rr.yaml", "cmd/rr/examples/*/*.rr.yaml"} {
		found, err := filepath.Glob(filepath.Join(repository, pattern))
		require.NoError(t, err)
		require.NotEmpty(t, found)
		for _, file := range found {
			name, _ := filepath.Rel(repository, file)
			require.True(t, listed[name] || name == "examples/production.rr.yaml", "%s is not listed", name)
		}
	}
	for _, l := range link.FindAllStringSubmatch(string(content), -1) {
		path, anchor, _ := strings.Cut(l[1], "#")
		target := filepath.Join(repository, "examples", path)
		_, err := os.Stat(target)
		require.NoError(t, err, l[1])
		require.True(t, anchor == "" || anchors(t, target)[anchor], l[1])
	}
}

// Without a text, or with one that the shell has split, nobody is told anything.
func TestAnnounceExampleWantsOneText(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {""}, {"hello", "you"}} {
		out, err := exec.Command(php(t), append([]string{repository + "/examples/php/announce.php"}, args...)...).CombinedOutput()
		require.ErrorContains(t, err, "exit status 2")
		require.Equal(t, "want one text, in quotes: php announce.php TEXT\n", string(out))
	}
}
