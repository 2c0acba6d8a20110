package tests

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// startFront runs a proxy until the test ends and waits until it listens.
func startFront(t *testing.T, dir, address string, command ...string) {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	log, err := os.Create(dir + "/front.log")
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if raw, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("%s", raw)
		}
	})
	eventually(t, "the proxy listens", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

// documentedPlugin runs the configuration that stands beside those of the proxies, with addresses of this machine.
func documentedPlugin(t *testing.T) (h *host, status string) {
	t.Helper()
	var found string
	for _, b := range blocks(t, repository+"/docs/operations.md") {
		if strings.Contains(b.text, "proxy_protocol:") {
			require.Empty(t, found)
			found = b.text
		}
	}
	_, section, ok := strings.Cut(found, "\ntcp:")
	require.True(t, ok)
	require.Contains(t, section, "trusted: [10.0.0.2, 10.0.0.3]")
	section = onAnyPort("tcp:" + strings.Replace(section, "10.0.0.2", "127.0.0.1", 1))
	status = freePort(t)
	return start(t, fmt.Sprintf("status: {address: %q}\n%s", status, section)), status
}

// requireServed talks to the server through the proxy, half-closes, and looks for the client's own address.
func requireServed(t *testing.T, h *host, address string) {
	t.Helper()
	c := dial(t, "tcp", address)
	require.Equal(t, "hello", c.ask("hello"))
	write(c, "last\r\n")
	c.closeWrite()
	require.Equal(t, "last\r\n", c.rest())
	require.Equal(t, "eof", h.record.remote(t, "smtp", c.LocalAddr().String()).Reason)
}

func TestDocumentedHAProxy(t *testing.T) {
	t.Parallel()
	haproxy := installed(t, "haproxy")
	h, status := documentedPlugin(t)
	var checks atomic.Int64
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: status})
	counted := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxy.ServeHTTP(w, r)
		checks.Add(1)
	}))
	t.Cleanup(counted.Close)
	_, port, err := net.SplitHostPort(counted.Listener.Addr().String())
	require.NoError(t, err)
	front, config := freePort(t), shown(t, "docs/operations.md", "haproxy", 0)
	for old, with := range map[string]string{
		"bind :25": "bind " + front, "10.0.0.11:2525": h.addr("smtp").String(), "10.0.0.12:2525": h.addr("smtp").String(),
		"port 2114 inter 2s fall 5": "port " + port + " inter 50ms fall 3", "mode tcp": "mode tcp\n  timeout check 1m",
	} {
		require.Contains(t, config, old)
		config = strings.ReplaceAll(config, old, with)
	}
	save(t, h.dir+"/haproxy.cfg", []byte(config))
	eventually(t, "the status plugin answers", func() bool {
		response, err := http.Get("http://" + status + "/ready?plugin=tcp")
		return err == nil && response.Body.Close() == nil && response.StatusCode == http.StatusOK
	})
	http.DefaultClient.CloseIdleConnections()
	startFront(t, h.dir, front, haproxy, "-db", "-q", "-f", h.dir+"/haproxy.cfg")
	eventually(t, "both servers would be down if they were not ready", func() bool { return checks.Load() > 2*3 })
	for range 4 { // both servers
		requireServed(t, h, front)
	}
	require.Empty(t, h.ours("warn"))
	require.Empty(t, h.ours("error"))
}

func TestDocumentedNginx(t *testing.T) {
	t.Parallel()
	nginx := installed(t, "nginx")
	h, _ := documentedPlugin(t)
	front, config := freePort(t), shown(t, "docs/operations.md", "nginx", 0)
	for old, with := range map[string]string{
		"listen 25": "listen " + front, "10.0.0.11:2525": h.addr("smtp").String(), "10.0.0.12:2525": h.addr("smtp").String(),
	} {
		require.Contains(t, config, old)
		config = strings.ReplaceAll(config, old, with)
	}
	head := fmt.Sprintf("daemon off;\nmaster_process off;\npid %s/pid;\nerror_log stderr;\nevents {}\n", h.dir)
	if module := "/usr/lib/nginx/modules/ngx_stream_module.so"; isFile(module) { // Debian has it apart
		head = "load_module " + module + ";\n" + head
	}
	save(t, h.dir+"/nginx.conf", []byte(head+config))
	startFront(t, h.dir, front, nginx, "-e", "stderr", "-c", h.dir+"/nginx.conf")
	for range 4 {
		requireServed(t, h, front)
	}
	require.Empty(t, h.ours("warn"))
	require.Empty(t, h.ours("error"))
}

func isFile(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestPortHandover is the hand-over of operations.md.
func TestPortHandover(t *testing.T) {
	t.Parallel()
	yaml := fmt.Sprintf("tcp:\n  servers: {smtp: {addr: %q, reuse_port: true}}\n  pool: {num_workers: 2}\n", freePort(t))
	old := start(t, yaml)
	before := old.dial("smtp")
	require.Equal(t, "hello", before.ask("hello"))

	next := start(t, yaml)
	old.terminate()
	before.requireEnd()
	old.requireExit()
	for range 20 {
		c := next.dial("smtp")
		require.Equal(t, "hello", c.ask("hello"))
		_ = c.Close()
		next.record.of(t, c)
	}
}
