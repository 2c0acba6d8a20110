package tests

import (
	"bufio"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// awaitLine reads until a line matches, and asks c something at each.
func awaitLine(t *testing.T, lines *bufio.Scanner, c *client, pattern string) {
	t.Helper()
	want := regexp.MustCompile(pattern)
	for lines.Scan() {
		if want.MatchString(lines.Text()) {
			return
		}
		require.Equal(t, "x", c.ask("x"))
	}
	require.Fail(t, "no line matches "+pattern)
}

func TestTopCommand(t *testing.T) {
	t.Parallel()
	h := start(t, minimal)
	c := h.dial("echo")

	piped := commandOf(t, "top", "-c", h.dir+"/.rr.yaml")
	out, err := piped.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, piped.Start())
	defer time.AfterFunc(patience, func() { _ = piped.Process.Kill() }).Stop()
	lines := bufio.NewScanner(out)
	awaitLine(t, lines, c, `^\d\d:\d\d:\d\d  connections: 1  packets/s: [1-9]\d*  waiting for a worker: 0$`)
	awaitLine(t, lines, c, `^buffered: \d+ B of 256\.0 MB$`)
	awaitLine(t, lines, c, `^workers: 2  ready: 2  memory: \d+\.\d MB$`)
	awaitLine(t, lines, c, `^ +echo +1 +[1-9]\d* +\d+ B +\d+ B +<\d\S* +<\d\S*$`)
	awaitLine(t, lines, c, `^ *\d+ +ready +[1-9]\d* +\d+\.\d MB +\d+\.\d% +\d+s$`)
	h.stop()
	for lines.Scan() {
	}
	require.Error(t, piped.Wait(), "it ends with rr")
}

// On a terminal it is a screen, which q leaves.
func TestTopCommandOnTerminal(t *testing.T) {
	t.Parallel()
	script := installed(t, "script")
	h := start(t, minimal)
	command := "'" + strings.Join(commandOf(t, "top", "-c", h.dir+"/.rr.yaml").Args, "' '") + "'"
	terminal := exec.Command(script, "-qec", command, "/dev/null")
	terminal.Env = append(terminal.Environ(), "TERM=xterm")
	keys, err := terminal.StdinPipe()
	require.NoError(t, err)
	out, err := terminal.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, terminal.Start())
	defer time.AfterFunc(patience, func() { _ = terminal.Process.Kill() }).Stop()
	var shown strings.Builder
	for b := make([]byte, 4096); !strings.Contains(shown.String(), "SLOWEST"); {
		n, err := out.Read(b)
		require.NoError(t, err, shown.String())
		shown.Write(b[:n])
	}
	_, err = keys.Write([]byte("q"))
	require.NoError(t, err)
	rest := bufio.NewReader(out)
	_, _ = rest.WriteTo(&shown)
	require.NoError(t, terminal.Wait())
	require.Contains(t, shown.String(), "\x1b[?1049h", "the alternate screen")
	require.Contains(t, shown.String(), "\x1b[?1049l", "is left")
}
