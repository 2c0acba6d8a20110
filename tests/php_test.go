package tests

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// php returns the path of php-cli. Without one the test is skipped, unless RRTCP_REQUIRE_PHP=1.
func php(t *testing.T) string {
	t.Helper()
	if vendor := os.Getenv("RRTCP_PHP_VENDOR"); vendor != "" { // that it is read here keeps Go from a result with other packages
		t.Log("on the packages in " + vendor)
	}
	return installed(t, "php")
}

// installed returns the path of a program. Without it the test is skipped, unless RRTCP_REQUIRE_PROGRAM=1; - of its name is _ there.
func installed(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	name := strings.ToUpper(strings.ReplaceAll(strings.TrimSuffix(program, "-server"), "-", "_"))
	require.NotEqual(t, "1", os.Getenv("RRTCP_REQUIRE_"+name), "required and not installed: %s", err)
	t.Skip(program + " is not installed: nothing of it is tested")
	return ""
}

// startPHP runs a host whose workers are php-cli, which prints all that it complains of, as it does without a php.ini.
func startPHP(t *testing.T, yaml string, command ...string) *host {
	t.Helper()
	return newHost(t, shortDir(t)).serveWorker(yaml, append([]string{php(t), "-d", "error_reporting=-1", "-d", "display_errors=1"}, command...)...)
}

func workerPHP(t *testing.T, behaviour ...string) []string {
	t.Helper()
	path, err := filepath.Abs(repository + "/tests/php/worker.php")
	require.NoError(t, err)
	return append([]string{path}, behaviour...)
}

func TestPHPWorker(t *testing.T) {
	t.Parallel()
	t.Run("echoes", func(t *testing.T) {
		t.Parallel()
		h := startPHP(t, minimal, workerPHP(t, "echo")...)
		c := h.dial("echo")
		require.Equal(t, "hello", c.ask("hello"))
		large := string(pattern(3 << 20))
		require.True(t, large == c.ask(large))
		write(c, "tail")
		c.closeWrite()
		require.Equal(t, "tail", c.rest())
	})

	t.Run("sees a sentence", func(t *testing.T) {
		t.Parallel()
		dir := shortDir(t)
		h := startPHP(t, minimal, workerPHP(t, "record", dir+"/record")...)
		const clients = 10
		for i := range clients {
			c := h.dial("echo")
			for _, packet := range []string{"one", "two"} {
				require.Equal(t, packet, c.ask(packet))
			}
			write(c, fmt.Sprint(i))
			c.closeWrite()
			require.Equal(t, fmt.Sprint(i), c.rest())
		}

		seen := newRecord("")
		eventually(t, "every CLOSE is handed over", func() bool {
			*seen = *newRecord("")
			raw, _ := os.ReadFile(dir + "/record")
			lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
			for _, line := range lines {
				takePHP(t, seen, line)
			}
			return len(lines) == 5*clients
		})
		require.Empty(t, seen.wrong)
		require.Len(t, seen.sentences, clients)
		for _, s := range seen.sentences {
			require.Equal(t, "eof", s.Reason)
			require.Equal(t, []packet{{body: "one\r\n"}, {body: "two\r\n"}}, s.packets[:2])
			require.True(t, s.packets[2].eof)
		}
	})

	t.Run("dies with one connection, not with the others", func(t *testing.T) {
		t.Parallel()
		h := startPHP(t, minimal, workerPHP(t, "exit")...)
		idle := h.dial("echo")
		for range 3 {
			c := h.dial("echo")
			c.send("hello")
			c.requireEnd()
		}
		eventually(t, "all three are logged", func() bool { return len(h.logged("tcp", `"reason":"error"`)) == 3 })
		idle.send("hello")
		idle.requireEnd()
	})

	t.Run("answers with errors", func(t *testing.T) {
		t.Parallel()
		h := startPHP(t, minimal, workerPHP(t, "error")...)
		for range 3 {
			c := h.dial("echo")
			c.send("hello")
			c.requireEnd()
		}
		eventually(t, "the text is logged", func() bool {
			return len(h.logged("tcp", "this worker answers packets with errors")) == 3
		})
	})

	t.Run("never answers CLOSE", func(t *testing.T) {
		t.Parallel()
		h := startPHP(t, impatient, workerPHP(t, "noclose")...)
		const connects = 8
		for i := range connects {
			c := h.dial("echo")
			require.Equal(t, fmt.Sprint(i), c.ask(fmt.Sprint(i)))
			require.NoError(t, c.Close())
		}
		eventually(t, "workers are replaced", func() bool { return len(h.ours("warn")) > 0 })
		require.Len(t, h.ours("warn"), 1)
	})
}

// takePHP takes a line that worker.php has written: the context's keys, and pid and body beside them.
func takePHP(t *testing.T, r *record, line string) {
	t.Helper()
	if line == "" {
		return
	}
	context := make(map[string]any)
	e := entry{N: len(r.entries)}
	require.NoError(t, json.Unmarshal([]byte(line), &e), line)
	require.NoError(t, json.Unmarshal([]byte(line), &context))
	delete(context, "body")
	delete(context, "pid")
	var err error
	e.Context, err = json.Marshal(context)
	require.NoError(t, err)
	r.take(e)
	r.take(entry{Pid: e.Pid, N: e.N, Answered: true})
}

// startExample runs a configuration and its worker from examples/php as they are, but for the address, on a stand-in for
// the packages that Composer would have installed.
func startExample(t *testing.T, name string) *host {
	t.Helper()
	return startExampleWith(t, name, func(yaml string) string { return yaml })
}

// startExampleWith changes the configuration.
func startExampleWith(t *testing.T, name string, change func(string) string) *host {
	t.Helper()
	dir := t.TempDir()
	script, err := os.ReadFile(filepath.Join(repository, "examples/php", name+".php"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, name+".php"), script, 0o600))
	autoload, err := filepath.Abs(repository + "/tests/php/spiral/autoload.php")
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(dir+"/vendor", 0o700))
	require.NoError(t, os.Symlink(autoload, dir+"/vendor/autoload.php"))

	yaml, err := os.ReadFile(filepath.Join(repository, "examples/php", name+".rr.yaml"))
	require.NoError(t, err)
	require.Contains(t, string(yaml), fmt.Sprintf("command: \"php %s.php\"", name))
	_, section, ok := strings.Cut(string(yaml), "\ntcp:")
	require.True(t, ok)
	return startPHP(t, onAnyPort(change("tcp:"+section)), filepath.Join(dir, name+".php"))
}

func TestPHPExamples(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"echo", "direct"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := startExample(t, name)
			for range 10 { // more than there are workers: CLOSE is answered
				c := h.dial("echo")
				require.Equal(t, "hello", c.ask("hello"))
				require.Equal(t, "bye", c.ask("quit"))
				c.requireEnd()
			}
			eventually(t, "all have ended", func() bool { return len(h.logged("tcp", `"reason":"worker"`)) == 10 })
			require.Empty(t, h.ours("warn"))
			require.Empty(t, h.ours("error"))
		})
	}

	t.Run("are short", func(t *testing.T) {
		t.Parallel()
		examples, err := filepath.Glob(repository + "/examples/php/*.php")
		require.NoError(t, err)
		require.Len(t, examples, 10)
		for _, file := range examples {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Less(t, strings.Count(string(content), "\n"), 60, file)
		}
	})

	t.Run("smtp", func(t *testing.T) {
		t.Parallel()
		h := startExample(t, "smtp")
		for range 3 {
			c := h.dial("smtp")
			require.Equal(t, "220 smtp.example.com ready", c.receive())
			require.Equal(t, "500 Unknown command", c.ask("GET / HTTP/1.1"))
			require.Equal(t, "503 Bad sequence of commands", c.ask("MAIL FROM:<a@example.com>"))
			require.Equal(t, "250 smtp.example.com", c.ask("EHLO client.example.com"))
			require.Equal(t, "250 OK", c.ask("MAIL FROM:<a@example.com>"))
			require.Equal(t, "250 OK", c.ask("RCPT TO:<b@example.com>"))
			require.Equal(t, "354 End with <CRLF>.<CRLF>", c.ask("DATA"))
			// The message comes in one segment, however many lines it has.
			require.Equal(t, "250 OK", c.ask("Subject: test\r\n\r\none\r\n..two\r\n."))
			require.Equal(t, "221 Bye", c.ask("QUIT"))
			c.requireEnd()
		}
		eventually(t, "the mail is logged", func() bool {
			return len(h.logged("server", `"from\":\"a@example.com\"`)) == 3
		})
		require.Empty(t, h.ours("warn"))
		require.Empty(t, h.ours("error"))
	})
}
