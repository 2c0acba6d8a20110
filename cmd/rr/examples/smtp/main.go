// Command smtp is a worker that takes mail from everyone for everyone (RFC 5321) and logs that it did. A command is a
// line, the mail itself is one packet. What it knows of a conversation goes with the connection: it keeps nothing, and any
// number of workers can take turns.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/rrtcp/tcp/cmd/rr/worker"
)

// conversation is the state between two events.
type conversation struct {
	StartTLS bool     `json:"starttls,omitempty"` // can be had
	Greeted  bool     `json:"greeted,omitempty"`
	From     *string  `json:"from,omitempty"`
	To       []string `json:"to,omitempty"`
	Mail     bool     `json:"mail,omitempty"` // the next packet is one
}

// mail is the one packet that follows DATA: up to a dot alone on a line. One without any line is that dot.
var mail = worker.Framing{Once: true, Rules: []worker.Rule{
	{Starts: ".\r\n", Framing: "fixed", PacketSize: len(".\r\n")},
	{Delimiter: "\r\n.\r\n"},
}}

func main() {
	if err := worker.Serve(answer); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func answer(e worker.Event) (worker.Reply, error) {
	switch e.Event {
	case worker.Connected:
		return conversation{StartTLS: e.StartTLS}.reply("220 smtp.example.com ready", nil)
	case worker.Secured: // what was said before could have been anybody's
		return worker.Reply{Context: worker.Continue, State: new(string)}, nil
	case worker.Data:
	default:
		return worker.Reply{Context: worker.Continue}, nil
	}

	var c conversation
	if e.State != "" {
		if err := json.Unmarshal([]byte(e.State), &c); err != nil {
			return worker.Reply{}, err
		}
	}
	switch {
	case e.EOF: // half a command or mail is none
		return worker.Reply{Context: worker.Close}, nil
	case e.Truncated:
		return c.withoutMail().reply("552 Too long", nil)
	case c.Mail:
		return c.take(e.Body).reply("250 OK", nil)
	}
	text := c.command(strings.TrimSuffix(string(e.Body), "\r\n"))
	switch {
	case text == goAhead:
		return worker.Reply{Context: worker.Write, Body: []byte(text + "\r\n"), TLS: true}, nil
	case strings.HasPrefix(text, "221"):
		return worker.Reply{Context: worker.WriteClose, Body: []byte(text + "\r\n")}, nil
	case c.Mail:
		return c.reply(text, &mail)
	}
	return c.reply(text, nil)
}

func (c conversation) reply(text string, next *worker.Framing) (worker.Reply, error) {
	var raw strings.Builder
	encoder := json.NewEncoder(&raw)
	encoder.SetEscapeHTML(false) // a & of six bytes: the recipients would be more than a state takes
	err := encoder.Encode(c)
	state := raw.String()
	return worker.Reply{Context: worker.Write, Body: []byte(text + "\r\n"), Next: next, State: &state}, err
}

var (
	mailFrom = regexp.MustCompile(`(?i)^MAIL FROM:\s*<([ -;=?-~]{0,256})>`)
	rcptTo   = regexp.MustCompile(`(?i)^RCPT TO:\s*<([ -;=?-~]{1,256})>`)
)

const (
	mostRecipients = 100
	goAhead        = "220 Go ahead"
)

func (c *conversation) command(line string) string {
	verb, _, _ := strings.Cut(line, " ")
	switch verb = strings.ToUpper(verb); verb {
	case "HELO", "EHLO":
		*c = conversation{Greeted: true, StartTLS: c.StartTLS}
		if verb == "EHLO" && c.StartTLS {
			return "250-smtp.example.com\r\n250 STARTTLS"
		}
		return "250 smtp.example.com"
	case "STARTTLS":
		if !c.StartTLS {
			return "503 Bad sequence of commands"
		}
		return goAhead
	case "MAIL":
		return c.mail(line)
	case "RCPT":
		return c.recipient(line)
	case "DATA":
		if len(c.To) == 0 {
			return "503 Bad sequence of commands"
		}
		c.Mail = true
		return "354 End with <CRLF>.<CRLF>"
	case "RSET":
		*c = c.withoutMail()
		return "250 OK"
	case "NOOP":
		return "250 OK"
	case "VRFY":
		return "252 Cannot verify, but will try"
	case "QUIT":
		return "221 Bye"
	default:
		return "500 Unknown command"
	}
}

func (c *conversation) mail(line string) string {
	from := mailFrom.FindStringSubmatch(line)
	switch {
	case !c.Greeted || c.From != nil:
		return "503 Bad sequence of commands"
	case from == nil:
		return "501 Syntax: MAIL FROM:<address>"
	}
	c.From = &from[1] // the empty path <> is a sender, too: that of a bounce
	return "250 OK"
}

func (c *conversation) recipient(line string) string {
	to := rcptTo.FindStringSubmatch(line)
	switch {
	case c.From == nil:
		return "503 Bad sequence of commands"
	case to == nil:
		return "501 Syntax: RCPT TO:<address>"
	case len(c.To) == mostRecipients:
		return "452 Too many recipients"
	}
	c.To = append(c.To, to[1])
	return "250 OK"
}

// take takes a mail as it came: with the dot that ends it, and one more before each that began a line.
func (c conversation) take(mail []byte) conversation {
	mail = bytes.TrimSuffix(mail, []byte(".\r\n"))
	mail = bytes.TrimPrefix(mail, []byte("."))
	mail = bytes.ReplaceAll(mail, []byte("\r\n."), []byte("\r\n"))
	log, _ := json.Marshal(map[string]any{
		"from": c.From, "to": c.To, "bytes": len(mail), "sha256": fmt.Sprintf("%x", sha256.Sum256(mail)),
	})
	fmt.Fprintf(os.Stderr, "mail %s\n", log)
	return c.withoutMail()
}

func (c conversation) withoutMail() conversation {
	return conversation{Greeted: c.Greeted, StartTLS: c.StartTLS}
}
