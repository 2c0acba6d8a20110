package tests

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/smtp"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// startGoExample runs a configuration and its worker from cmd/rr/examples as they are, but for the address.
func startGoExample(t *testing.T, name string) *host {
	t.Helper()
	return startGoExampleWith(t, name, func(yaml string) string { return yaml })
}

// startGoExampleWith changes the configuration.
func startGoExampleWith(t *testing.T, name string, change func(string) string) *host {
	t.Helper()
	worker := filepath.Join(t.TempDir(), name)
	build := exec.Command("go", append(append([]string{"build"}, buildFlags...), "-o", worker, "./examples/"+name)...)
	build.Dir = filepath.Join("..", "cmd", "rr")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	yaml, err := os.ReadFile(filepath.Join(build.Dir, "examples", name, name+".rr.yaml"))
	require.NoError(t, err)
	_, section, ok := strings.Cut(string(yaml), "\ntcp:")
	require.True(t, ok)
	return newHost(t, shortDir(t)).serveWorker(onAnyPort(change("tcp:"+section)), worker)
}

// onAnyPort is a configuration with other addresses.
func onAnyPort(yaml string) string {
	lines := strings.Split(yaml, "\n")
	for i, line := range lines {
		if before, rest, ok := strings.Cut(line, "addr: "); ok {
			_, more, _ := strings.Cut(rest, ",")
			if more != "" {
				more = "," + more
			}
			lines[i] = before + "addr: 127.0.0.1:0" + more
		}
	}
	return strings.Join(lines, "\n")
}

// mail is one of about n bytes with what is hard about mail: dots that begin lines, and what looks like its end.
func mail(n int) []byte {
	var b bytes.Buffer
	b.WriteString("Subject: test\r\n\r\n.\r\n..\r\n.QUIT\r\n")
	for b.Len() < n {
		b.WriteString(".leading dot\r\n\r\n" + string(pattern(700)) + "\r\n")
	}
	return b.Bytes()
}

// awaitMail waits until a worker has said that it has the mail.
func awaitMail(t *testing.T, h *host, content []byte) {
	t.Helper()
	sum := sha256.Sum256(content)
	eventually(t, "the mail is taken as it was sent", func() bool {
		return len(h.logged("server", hex.EncodeToString(sum[:]))) == 1
	})
}

// sendMail sends a mail by the library and waits until a worker has it.
func sendMail(t *testing.T, h *host, c *smtp.Client, content []byte) {
	t.Helper()
	require.NoError(t, c.Mail("a@example.com"))
	require.NoError(t, c.Rcpt("b@example.com"))
	w, err := c.Data()
	require.NoError(t, err)
	_, err = w.Write(content)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	awaitMail(t, h, content)
}

func TestSMTPExamples(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T) *host{
		"PHP": func(t *testing.T) *host { return startExample(t, "smtp") },
		"Go":  func(t *testing.T) *host { return startGoExample(t, "smtp") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t)
			address := h.addr("smtp").String()

			t.Run("from a library", func(t *testing.T) {
				large := mail(2 << 20)
				c, err := smtp.Dial(address)
				require.NoError(t, err)
				for _, content := range [][]byte{large, []byte("short\r\n"), mail(100)} {
					sendMail(t, h, c, content)
				}
				require.NoError(t, c.Quit())
			})

			t.Run("from swaks", func(t *testing.T) {
				swaks := installed(t, "swaks")
				content := mail(2<<20 + 1)
				file := filepath.Join(t.TempDir(), "mail")
				require.NoError(t, os.WriteFile(file, content, 0o600))
				out, err := exec.Command(swaks, "--server", address, "--from", "a@example.com", "--to", "b@example.com",
					"--data", "@"+file, "--suppress-data", "--no-data-fixup").CombinedOutput()
				require.NoError(t, err, "%s", out)
				awaitMail(t, h, content)
			})

			t.Run("all of it at once", func(t *testing.T) { // as nobody should before the server has greeted
				c := h.dialFrom(t, "smtp")
				require.Equal(t, "220 smtp.example.com ready", c.receive())
				write(c, "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nall at once\r\n..dot\r\n.\r\nQUIT\r\n")
				require.Equal(t, "250 smtp.example.com\r\n250 OK\r\n250 OK\r\n354 End with <CRLF>.<CRLF>\r\n250 OK\r\n221 Bye\r\n", c.rest())
				awaitMail(t, h, []byte("all at once\r\n.dot\r\n"))
			})

			t.Run("a mail without a line", func(t *testing.T) {
				c := h.dialFrom(t, "smtp")
				c.receive()
				write(c, "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n.\r\nQUIT\r\n")
				require.Equal(t, "250 smtp.example.com\r\n250 OK\r\n250 OK\r\n354 End with <CRLF>.<CRLF>\r\n250 OK\r\n221 Bye\r\n", c.rest())
				awaitMail(t, h, nil)
			})

			t.Run("addresses of any kind", func(t *testing.T) {
				c := h.dialFrom(t, "smtp")
				c.receive()
				require.Equal(t, "250 smtp.example.com", c.ask("EHLO x"))
				require.Equal(t, "252 Cannot verify, but will try", c.ask("VRFY b@example.com"))
				require.Equal(t, "501 Syntax: MAIL FROM:<address>", c.ask("MAIL FROM:<"+strings.Repeat("a", 70_000)+"@example.com>"))
				require.Equal(t, "501 Syntax: MAIL FROM:<address>", c.ask("MAIL FROM:<\xff@example.com>"), "that is no text")
				require.Equal(t, "250 OK", c.ask("MAIL FROM:<a@example.com>"))
				for _, char := range []string{"&", "\"", "\x01", "ü", "𝛂"} { // as JSON most of them are longer
					for range 101 {
						got := c.ask("RCPT TO:<" + strings.Repeat(char, 240/len(char)) + "@example.com>")
						require.Regexp(t, "^(250 OK|452 Too many recipients|501 Syntax: RCPT TO:<address>)$", got)
					}
					require.Equal(t, "250 OK", c.ask("RSET"))
					require.Equal(t, "250 OK", c.ask("MAIL FROM:<a@example.com>"))
				}
			})

			t.Run("not half of it", func(t *testing.T) {
				c := h.dialFrom(t, "smtp")
				c.receive()
				write(c, "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nhalf a mail\r\n")
				c.closeWrite()
				require.NotContains(t, strings.TrimPrefix(c.rest(), "250 smtp.example.com\r\n250 OK\r\n250 OK\r\n"), "250")
			})
			require.Empty(t, h.ours("warn"))
			require.Empty(t, h.ours("error"))
		})
	}
}

// A mail that is too long has an answer, as has a line: without one the client would send it again for days.
func TestSMTPExamplesRefuseLongMail(t *testing.T) {
	t.Parallel()
	tooLong := &textproto.Error{Code: 552, Msg: "Too long"}
	for name, start := range map[string]func(*testing.T, func(string) string) *host{
		"PHP": func(t *testing.T, change func(string) string) *host { return startExampleWith(t, "smtp", change) },
		"Go":  func(t *testing.T, change func(string) string) *host { return startGoExampleWith(t, "smtp", change) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t, func(yaml string) string {
				changed := strings.Replace(yaml, `"10MB"`, `"64KiB"`, 1)
				require.NotEqual(t, yaml, changed)
				return changed
			})
			c, err := smtp.Dial(h.addr("smtp").String())
			require.NoError(t, err)
			sendMail(t, h, c, mail(60_000))
			require.NoError(t, c.Mail("a@example.com"))
			require.NoError(t, c.Rcpt("b@example.com"))
			w, err := c.Data()
			require.NoError(t, err)
			_, err = w.Write(mail(300_000))
			require.NoError(t, err)
			require.Equal(t, tooLong, w.Close())
			sendMail(t, h, c, mail(61_000))
			require.Equal(t, tooLong, c.Verify(strings.Repeat("x", 300_000)))
			require.NoError(t, c.Quit())
			require.Empty(t, h.ours("error"))
		})
	}
}

// teltonika is a packet from the maker's documentation: one record.
const teltonika = "000000000000003608010000016B40D8EA30010000000000000000000000000000000105021503010101425E0F01F10000601A" +
	"014E0000000000000000010000C7CF"

func unhex(t *testing.T, s string) string {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return string(b)
}

func TestGatewayExample(t *testing.T) {
	t.Parallel()
	h := startGoExample(t, "gateway")
	for range 2 { // it says who it is, and sends its records at once
		c := h.dial("trackers")
		packet := unhex(t, teltonika)
		write(c, "\xff\x00\x0f356307042441013\xff"+packet+"\xff"+packet+"\xff\xff")
		answer := make([]byte, 1+4+4)
		_, err := io.ReadFull(c, answer)
		require.NoError(t, err)
		require.Equal(t, "\x01\x00\x00\x00\x01\x00\x00\x00\x01", string(answer))
		write(c, strings.Replace(packet, "\xc7\xcf", "\xc7\xce", 1))
		_, err = io.ReadFull(c, answer[:4])
		require.NoError(t, err)
		require.Equal(t, "\x00\x00\x00\x00", string(answer[:4]))
	}
	eventually(t, "the records are logged", func() bool {
		return len(h.logged("server", "tracker 356307042441013: 1 records")) == 4
	})

	stranger := h.dial("trackers")
	write(stranger, "\x00\x03you")
	require.Equal(t, "\x00", stranger.rest())
	require.Empty(t, h.ours("warn"))
	require.Empty(t, h.ours("error"))
}

func TestLogSinkExample(t *testing.T) {
	t.Parallel()
	h := startExample(t, "logs")
	const clients, lines = 3, 2000
	for range clients {
		c := h.dial("logs")
		write(c, strings.Repeat(`{"level":"info","message":"hello"}`+"\n", lines)+"no JSON\n")
		require.NoError(t, c.Close())
	}
	taken := func() (info, broken, batches int) {
		for _, line := range h.lines() {
			for _, levels := range strings.Split(line, `logs {`)[1:] { // what workers say at once is one line of RoadRunner's
				var n, b int
				levels = strings.ReplaceAll(levels, `\`, "")
				fmt.Sscanf(levels, `"info":%d,"broken":%d`, &n, &b)
				if n == 0 {
					fmt.Sscanf(levels, `"broken":%d`, &b)
				}
				info, broken, batches = info+n, broken+b, batches+1
			}
		}
		return info, broken, batches
	}
	eventually(t, "all lines are taken", func() bool {
		info, broken, _ := taken()
		return info == clients*lines && broken == clients
	})
	_, _, batches := taken()
	require.Less(t, batches, clients*lines/10)
	require.Empty(t, h.ours("warn"))
	require.Empty(t, h.ours("error"))
}

// recipes are the servers that docs/configuration.md shows for well-known protocols.
func recipes(t *testing.T) string {
	t.Helper()
	document, err := os.ReadFile(repository + "/docs/configuration.md")
	require.NoError(t, err)
	_, chapter, ok := strings.Cut(string(document), "\n## Protocols\n")
	require.True(t, ok)
	_, block, ok := strings.Cut(chapter, "\n```yaml\n")
	require.True(t, ok)
	block, _, _ = strings.Cut(block, "\n```")
	_, section, ok := strings.Cut(block, "\ntcp:")
	require.True(t, ok)
	return onAnyPort("tcp:" + section)
}

func TestProtocolRecipes(t *testing.T) {
	t.Parallel()
	h := start(t, recipes(t))
	for server, packets := range map[string]struct{ wire, want []string }{
		"smtp": {wire: []string{"EHLO client.example.com\r\n", "QUIT\r\n"}},
		"hl7": {wire: []string{ // ADT^A01 from HL7's own documentation, in the envelope of MLLP
			"\vMSH|^~\\&|ADT1|MCM|LABADT|MCM|198808181126|SECURITY|ADT^A01|MSG00001|P|2.3\rEVN|A01|198808181123\r\x1c\r",
			"\vMSH|^~\\&|LABADT|MCM|ADT1|MCM|198808181126||ACK^A01|MSG00001|P|2.3\rMSA|AA|MSG00001\r\x1c\r",
		}},
		"iso8583": {
			wire: []string{unhex(t, "0018"+"0800"+"2020000000800000"+"000000"+"000001"+"3239313130303031"), "\x00\x02\x08\x10"},
			want: []string{unhex(t, "0800"+"2020000000800000"+"000000"+"000001"+"3239313130303031"), "\x08\x10"},
		},
		"mqtt": {wire: []string{
			unhex(t, "10"+"10"+"00044d515454"+"04"+"02"+"003c"+"000474657374"), // CONNECT
			unhex(t, "30"+"c102") + "\x00\x01a" + string(pattern(318)),         // PUBLISH, 321 bytes
			unhex(t, "c000"), // PINGREQ
		}},
		"modbus": {wire: []string{ // read, and write, holding registers
			unhex(t, "000100000006"+"1103006b0003"), unhex(t, "00020000000b"+"11100001000204000a0102"),
		}},
		"teltonika": {wire: []string{unhex(t, teltonika), unhex(t, teltonika)}},
		"json": {
			wire: []string{`{"jsonrpc":"2.0","method":"ping","id":1}` + "\n", `{"a":"é"}` + "\r\n"},
			want: []string{`{"jsonrpc":"2.0","method":"ping","id":1}`, `{"a":"é"}`},
		},
	} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			want := packets.want
			if want == nil {
				want = packets.wire
			}
			stream := strings.Join(packets.wire, "")
			for cut := 1; cut <= len(stream); cut += 1 + len(stream)/7 {
				c := h.dialFrom(t, server)
				write(c, stream[:cut])
				write(c, stream[cut:])
				c.closeWrite()
				require.Equal(t, strings.Join(want, ""), c.rest())
				seen := h.record.of(t, c)
				require.Equal(t, want, seen.bodies())
				require.EqualValues(t, len(stream), seen.BytesRead)
				require.EqualValues(t, len(strings.Join(want, "")), seen.BytesWritten)
				require.Zero(t, seen.Unfinished)
			}
		})
	}
}
