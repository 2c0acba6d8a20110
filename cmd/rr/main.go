// Command rr is a RoadRunner that holds the tcp plugin and what it needs, and nothing else.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	rrerrors "github.com/roadrunner-server/errors"
	"github.com/rrtcp/tcp/cmd/rr/worker"
)

const usage = `rr is a RoadRunner that serves TCP.

Usage: rr COMMAND [-c FILE]

  serve         start the servers; SIGINT or SIGTERM stops them, a second one exits at once
  validate      check the config and print every mistake in it
  workers       list the workers of a running rr
  reset         replace its workers by new ones; connections stay open
  connections [SERVER]
                list its open connections, or those of one server
  send UUID [TEXT]
                send TEXT to the client of one, or what comes on standard input
  close UUID    close one of its connections
  worker echo   be a worker that sends back what it gets (for server.command)
  version       print the version
  help          print this

  -c FILE       the config; .rr.yaml in the working directory if not given, and if that is missing too,
                a built-in one: an echo server on tcp://127.0.0.1:7777
`

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	file, words, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		words, err = []string{"help"}, nil
	}
	if err != nil {
		return misused(err.Error())
	}

	switch command := strings.Join(words, " "); {
	case command == "":
		return misused("a command is missing")
	case command == "serve":
		err = serve(file)
	case command == "validate":
		err = validate(file, os.Stdout)
	case command == "workers":
		err = workers(file, os.Stdout)
	case command == "reset":
		err = reset(file, os.Stdout)
	case len(words) == 2 && words[0] == "close":
		err = closeConnection(file, words[1], os.Stdout)
	case words[0] == "connections" && len(words) <= 2:
		err = connections(file, strings.Join(words[1:], ""), os.Stdout)
	case words[0] == "send" && (len(words) == 2 || len(words) == 3):
		err = send(file, words[1:], os.Stdin, os.Stdout)
	case command == "send":
		return misused("send: the UUID of a connection is missing")
	case command == "close":
		return misused("close: the UUID of a connection is missing")
	case command == "worker echo":
		err = worker.Serve(echo)
	case command == "version":
		fmt.Println(version())
	case command == "help":
		fmt.Print(usage)
	default:
		return misused(fmt.Sprintf("no such command: %q", command))
	}

	if err != nil {
		say("%s", explain(err))
		return 1
	}
	return 0
}

// parse tells -c from the words of the command, wherever it stands.
func parse(args []string) (file string, words []string, err error) {
	flags := flag.NewFlagSet("rr", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&file, "c", "", "")
	for {
		if err = flags.Parse(args); err != nil || flags.NArg() == 0 {
			return file, words, err
		}
		words = append(words, flags.Arg(0))
		args = flags.Args()[1:]
	}
}

func misused(why string) int {
	say("%s", why)
	fmt.Fprint(os.Stderr, "\n", usage)
	return 2
}

// say tells a person something, in one line. Standard output is kept for what was asked for.
func say(format string, a ...any) { fmt.Fprintf(os.Stderr, "rr: "+format+"\n", a...) }

// echo is the built-in worker.
func echo(e worker.Event) (worker.Reply, error) {
	if e.Event == worker.Data {
		return worker.Reply{Context: worker.Write, Body: e.Body}, nil
	}
	return worker.Reply{Context: worker.Continue}, nil
}

var (
	// serveError is how Endure reports the error of a plugin's Serve: as text.
	serveError = regexp.MustCompile(`(?s)^serve error from the plugin \*(\w+)\.\w+ stopping execution, error: (.*)`)
	operation  = regexp.MustCompile(`\b(\w+?)_plugin_\w+:\s+((Init|Serve) error:\s+)?`)
	inset      = regexp.MustCompile(`:\s*\n\s*`)
	lineBreak  = regexp.MustCompile(`\s*\n\s*`)
)

// explain is an error in one line. RoadRunner's errors carry the operation that failed and a kind; of these only the
// plugin's name is told.
func explain(err error) string {
	var plugin string
	for {
		e, ok := err.(*rrerrors.Error) // it has no Unwrap
		if !ok || e.Err == nil {
			break
		}
		if m := operation.FindStringSubmatch(string(e.Op) + ": "); m != nil && plugin == "" {
			plugin = m[1]
		}
		err = e.Err
	}

	text := err.Error()
	if m := serveError.FindStringSubmatch(text); m != nil {
		plugin, text = m[1], m[2]
	}
	text = operation.ReplaceAllString(text, "")
	text = inset.ReplaceAllString(strings.TrimSpace(text), ": ")
	return attribute(plugin, lineBreak.ReplaceAllString(text, "; "))
}

// attribute says which plugin a message is from, if the message does not.
func attribute(plugin, message string) string {
	if plugin == "" || strings.HasPrefix(message, plugin) {
		return message
	}
	return plugin + ": " + message
}
