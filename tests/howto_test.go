package tests

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// howTo is a document's example, run as the document says: in a copy of examples/php.
type howTo struct {
	t        *testing.T
	document string
	host     *host
	moved    []string // addresses of the document and where they are here, in turn
}

func newHowTo(t *testing.T, document string) *howTo {
	t.Helper()
	php(t)
	dir := shortDir(t)
	h := &howTo{t: t, document: document, host: newHost(t, dir)}
	files, err := filepath.Glob(repository + "/examples/php/*.*")
	require.NoError(t, err)
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		save(t, filepath.Join(dir, filepath.Base(file)), content)
	}
	autoload, err := filepath.Abs(repository + "/tests/php/spiral/autoload.php")
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(dir+"/vendor", 0o700)) // in place of what Composer would download
	require.NoError(t, os.Symlink(autoload, dir+"/vendor/autoload.php"))
	return h
}

// serve does what the n-th block says, which is to run the configuration.
func (h *howTo) serve(n int, name, server, address string) {
	h.t.Helper()
	file := name + ".rr.yaml"
	require.Equal(h.t, "composer install\nrrtcp serve -c "+file+"\n", shown(h.t, h.document, "sh", n))
	yaml, err := os.ReadFile(filepath.Join(h.host.dir, file))
	require.NoError(h.t, err)
	require.Contains(h.t, string(yaml), address)
	moved := strings.Replace(onAnyPort(string(yaml)), "listen: tcp://127.0.0.1:6001", "listen: unix://"+h.host.dir+"/rpc", 1)
	save(h.t, filepath.Join(h.host.dir, file), []byte(moved))
	cmd := exec.Command(buildProgram(h.t), "serve", "-c", file)
	cmd.Dir = h.host.dir
	cmd.Env = append(os.Environ(), "RRTCP_HOST="+h.host.dir)
	h.host.run(cmd, 1)
	h.t.Cleanup(h.host.end)
	listens := h.host.addr(server).String()
	h.moved = append(h.moved, address, listens, strings.Replace(address, ":", " ", 1), strings.Replace(listens, ":", " ", 1))
}

// shell runs the n-th block with its addresses moved, and more of it replaced.
func (h *howTo) shell(n int, replaced ...string) string {
	h.t.Helper()
	script := shown(h.t, h.document, "sh", n)
	for i := 0; i < len(replaced); i += 2 {
		require.Contains(h.t, script, replaced[i])
	}
	script = strings.NewReplacer(append(replaced, h.moved...)...).Replace(script)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir, cmd.WaitDelay = h.host.dir, time.Second
	cmd.Env = append(os.Environ(), "RR_RPC=unix://"+h.host.dir+"/rpc")
	out, err := cmd.CombinedOutput()
	h.t.Logf("%s\n%s", script, out)
	if err != nil {
		return "failed: " + string(out)
	}
	return string(out)
}

// said waits until rr, or a worker of it, has written the text to standard error.
func (h *howTo) said(text string) {
	h.t.Helper()
	h.host.terminate()
	h.host.requireExit()
	require.Contains(h.t, strings.ReplaceAll(h.host.stderr(), `\`, ""), text)
}

func TestDevicesGuide(t *testing.T) {
	t.Parallel()
	installed(t, "openssl")
	h := newHowTo(t, "docs/devices.md")
	require.NotContains(t, h.shell(0), "failed")
	h.serve(1, "devices", "devices", "127.0.0.1:7443")

	require.Contains(t, h.shell(2), "\nok\n")
	require.Contains(t, h.shell(2, `{"temperature":21.5}`, "hot"), "\nerror\n", "no reading")
	const exact = `{"serial":12345678901234567890,"temperature":1e999}`
	require.Contains(t, h.shell(2, `{"temperature":21.5}`, exact), "\nok\n")
	const own = "-cert certs/device-17.pem -key certs/device-17.key"
	for without, with := range map[string]string{
		"no certificate": "",
		"a certificate that is no longer welcome": "-cert certs/stolen-device.pem -key certs/stolen-device.key",
	} {
		out := h.shell(2, own, with)
		require.NotContains(t, out, "\nok\n", without)
	}
	require.Contains(t, h.shell(2, "certs/ca.pem", "certs/device-17.pem"), "failed", "the device knows the gateway")
	h.said(`device device-17: {"temperature":21.5}`)
	require.Contains(t, strings.ReplaceAll(h.host.stderr(), `\`, ""), "device device-17: "+exact)
}

func TestSMTPGuide(t *testing.T) {
	t.Parallel()
	installed(t, "swaks")
	h := newHowTo(t, "docs/smtp.md")
	h.serve(0, "smtp", "smtp", "127.0.0.1:2525")
	require.Contains(t, h.shell(1), "250 OK")
	h.said(`"from":"a@example.com"`)
}

func TestChatGuide(t *testing.T) {
	t.Parallel()
	installed(t, "nc")
	h := newHowTo(t, "docs/chat.md")
	h.serve(0, "chat", "chat", "127.0.0.1:7000")

	enter := func(name string) *client {
		c := h.host.dial("chat")
		require.Equal(t, "What is your name?", c.receive())
		require.Equal(t, "Hello, "+name+". This is the lobby.", c.ask(name))
		return c
	}
	ann := enter("ann")
	require.Equal(t, "Letters and digits, please.", func() string {
		c := h.host.dial("chat")
		c.receive()
		return c.ask("<script>")
	}())
	bob := enter("bob")
	require.Equal(t, "* bob has come", ann.receive())
	for _, line := range []string{"hello", "is there tea?"} {
		require.Equal(t, "<bob> "+line, bob.ask(line))
		require.Equal(t, "<bob> "+line, ann.receive())
	}

	require.Equal(t, "What is your name?\r\nHello, ann. This is the lobby.\r\n<ann> hello\r\nBye.\r\n", h.shell(1))
	for _, line := range []string{"* ann has come", "<ann> hello", "* ann has left"} {
		require.Equal(t, line, ann.receive())
		require.Equal(t, line, bob.receive())
	}

	require.Equal(t, "This is the kitchen.", bob.ask("/join kitchen"))
	require.Equal(t, "* bob has left", ann.receive())
	require.Equal(t, "<ann> bob?", ann.ask("bob?"))
	require.Equal(t, "<bob> here", bob.ask("here"), "and nothing of another room before")

	require.Contains(t, h.shell(2), "will read it, 0 have too much to read")
	require.Equal(t, "*** Tea is ready", ann.receive())
	require.Equal(t, "*** Tea is ready", bob.receive())
	_ = bob.Close()
	require.Equal(t, "Bye.", ann.ask("/quit"))
	ann.requireEnd()
}

func TestQuickstart(t *testing.T) {
	t.Parallel()
	const document = "docs/quickstart.md"
	require.Equal(t, "go build -o rrtcp ./cmd/rr\n", shown(t, document, "sh", 0)) // as tests build it
	require.Equal(t, "composer install\nrrtcp serve\n", shown(t, document, "sh", 1))
	h := newHowTo(t, document)
	var composer map[string]any
	require.NoError(t, json.Unmarshal([]byte(shown(t, document, "json", 0)), &composer))
	require.Equal(t, map[string]any{"rrtcp/worker": "*@dev"}, composer["require"], "as examples/php/composer.json asks for it")

	yaml := shown(t, document, "yaml", 0)
	require.Contains(t, yaml, "addr: tcp://127.0.0.1:7777")
	require.Contains(t, yaml, "listen: tcp://127.0.0.1:6001")
	moved := strings.Replace(onAnyPort(yaml), "listen: tcp://127.0.0.1:6001", "listen: unix://"+h.host.dir+"/rpc", 1)
	save(t, h.host.dir+"/.rr.yaml", []byte(moved))
	save(t, h.host.dir+"/worker.php", []byte(shown(t, document, "php", 0)))
	require.NoError(t, os.Symlink(buildProgram(t), h.host.dir+"/rrtcp"))
	cmd := exec.Command(h.host.dir+"/rrtcp", "serve")
	cmd.Dir, cmd.Env = h.host.dir, append(os.Environ(), "RRTCP_HOST="+h.host.dir)
	h.host.run(cmd, 1)
	t.Cleanup(h.host.end)
	require.Contains(t, h.host.stderr(), "rrtcp: hello listens on tcp://127.0.0.1:")
	h.moved = []string{"127.0.0.1:7777", h.host.addr("hello").text, "rrtcp", h.host.dir + "/rrtcp"}

	require.Equal(t, "What is your name?\r\nHello, Ann\r\n", h.shell(2))
	c := h.host.dial("hello")
	require.Equal(t, "What is your name?", c.receive())
	require.Equal(t, "the workers are new\n", h.shell(3))
	require.Equal(t, "Hello, Bob", c.ask("Bob"), "the connection stays")
	c.requireEnd()
}

func TestOperationsGuideCommands(t *testing.T) {
	t.Parallel()
	p := start(t, ""+minimal)
	require.NoError(t, os.Rename(p.dir+"/.rr.yaml", p.dir+"/rr.yaml"))
	c := p.dial("echo")
	require.Equal(t, "hello", c.ask("hello"))
	both := t.TempDir() // a folder of programs
	for _, name := range []string{"rr", "rrtcp"} {
		require.NoError(t, os.Symlink(buildProgram(t), filepath.Join(both, name)))
	}
	for n, says := range []string{"rr.yaml: nothing to correct\n", "the workers are new\n"} {
		cmd := exec.Command("bash", "-euo", "pipefail", "-c", shown(t, "docs/operations.md", "sh", n))
		cmd.Dir, cmd.Env = p.dir, append(os.Environ(), "PATH="+both+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Equal(t, says, string(out))
	}
	require.Equal(t, "again", c.ask("again"))
}
