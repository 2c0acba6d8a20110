package tests

import (
	"crypto/tls"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// STARTTLS as clients speak it, with both SMTP examples.
func TestStartTLSOfSMTPExamples(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T, func(string) string) *host{
		"PHP": func(t *testing.T, change func(string) string) *host { return startExampleWith(t, "smtp", change) },
		"Go":  func(t *testing.T, change func(string) string) *host { return startGoExampleWith(t, "smtp", change) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca, dir := newAuthority(t, "ca"), t.TempDir()
			ca.server("localhost").save(t, dir, "server")
			h := start(t, func(yaml string) string {
				section := "      tls: {cert: " + dir + "/server.pem, key: " + dir + "/server.key, start: plain}\n"
				changed := strings.Replace(yaml, "      addr: ", section+"      addr: ", 1)
				require.NotEqual(t, yaml, changed)
				return changed
			})
			address := h.addr("smtp").String()
			root := filepath.Join(dir, "ca.pem")
			require.NoError(t, os.WriteFile(root, ca.pem, 0o600))

			t.Run("from a library", func(t *testing.T) {
				c, err := smtp.Dial(address)
				require.NoError(t, err)
				offered, _ := c.Extension("STARTTLS")
				require.True(t, offered)
				require.NoError(t, c.StartTLS(ca.trust("localhost")))
				offered, _ = c.Extension("STARTTLS")
				require.False(t, offered, "there is TLS already")
				sendMail(t, h, c, mail(1<<20))
				require.NoError(t, c.Quit())
			})

			t.Run("from openssl", func(t *testing.T) {
				client := exec.Command(installed(t, "openssl"), "s_client", "-starttls", "smtp", "-connect", address, "-CAfile", root,
					"-servername", "localhost", "-verify_hostname", "localhost", "-verify_return_error", "-quiet", "-crlf")
				client.Stdin = strings.NewReader("EHLO x\nSTARTTLS\nQUIT\n")
				out, err := client.CombinedOutput()
				require.NoError(t, err, "%s", out)
				require.Contains(t, string(out), "250 smtp.example.com\r\n503 Bad sequence of commands\r\n221 Bye\r\n")
			})

			t.Run("from swaks", func(t *testing.T) {
				swaks := installed(t, "swaks")
				support, _ := exec.Command(swaks, "--support").CombinedOutput()
				if !strings.Contains(string(support), "=== TLS supported") {
					t.Skip("swaks has no TLS: it needs Net::SSLeay")
				}
				content := mail(1<<20 + 1)
				file := filepath.Join(t.TempDir(), "mail")
				require.NoError(t, os.WriteFile(file, content, 0o600))
				out, err := exec.Command(swaks, "--server", address, "--tls", "--tls-ca-path", root, "--from", "a@example.com",
					"--to", "b@example.com", "--data", "@"+file, "--suppress-data", "--no-data-fixup").CombinedOutput()
				require.NoError(t, err, "%s", out)
				awaitMail(t, h, content)
			})

			t.Run("HELO has one line", func(t *testing.T) {
				c := h.dialFrom(t, "smtp")
				c.receive()
				require.Equal(t, "250 smtp.example.com", c.ask("HELO x"))
				require.Equal(t, "250 OK", c.ask("NOOP"))
			})

			// Whoever sits in between can put commands behind STARTTLS, but not into the session.
			t.Run("with commands slipped in", func(t *testing.T) {
				c := h.dialFrom(t, "smtp")
				require.Equal(t, "220 smtp.example.com ready", c.receive())
				require.Equal(t, "250-smtp.example.com", c.ask("EHLO x"))
				require.Equal(t, "250 STARTTLS", c.receive())
				write(c, "STARTTLS\r\nEHLO x\r\nMAIL FROM:<attacker@example.com>\r\n")
				require.Equal(t, "220 Go ahead", c.receive())
				secure := tls.Client(c.Conn, ca.trust("localhost"))
				_, err := secure.Write([]byte("RCPT TO:<b@example.com>\r\nQUIT\r\n"))
				require.NoError(t, err)
				got := make([]byte, 1024)
				n, err := secure.Read(got)
				require.NoError(t, err)
				require.True(t, strings.HasPrefix(string(got[:n]), "503 Bad sequence of commands\r\n"), "%s", got[:n])
			})
			require.Empty(t, h.ours("warn"))
			require.Empty(t, h.ours("error"))
		})
	}
}
