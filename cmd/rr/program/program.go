// Package program is rr without its list of host plugins: the commands, the built-in config, and how the plugins are started
// and stopped. It imports no plugin and no pool of a RoadRunner release: what differs between releases comes in as a [Line].
package program

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/rrtcp/tcp/cmd/rr/worker"
)

// Line is a RoadRunner release: its host plugins, and what the program needs to know of them.
type Line struct {
	Release  string     // without the v; workers see it as RR_VERSION
	LogLevel slog.Level // of Endure where the config has no endure.log_level: the highest that this release can be told

	Config   func(Source) Config                // makes the config plugin
	Plugins  func() []any                       // makes the other host plugins
	TCP      func() TCP                         // makes the tcp plugin
	CheckTCP func(cfg Config, log Logger) error // Init of a tcp plugin that is never served
	Sections func() map[string]Section          // what Plugins read, by the section's name
}

// Source says where the config plugin reads from.
type Source struct {
	Path string        // of the file
	YAML []byte        // read in place of the file where Path is empty
	Stop time.Duration // the grace period
}

// Config is RoadRunner's config plugin.
type Config interface {
	Init() error
	Has(name string) bool
	Get(name string) any
	Unmarshal(out any) error
	UnmarshalKey(name string, out any) error
}

// Logger is RoadRunner's logger plugin, as the tcp plugin wants it.
type Logger interface {
	NamedLogger(name string) *zap.Logger
}

// TCP is the tcp plugin.
type TCP interface {
	Addr(server string) net.Addr
	Reset() error
	Stop(ctx context.Context) error
}

// The names of the host plugins' sections that the program itself reads.
const (
	tcpSection    = "tcp"
	serverSection = "server"
	rpcSection    = "rpc"
	endureSection = "endure"
)

const usage = `NAME is a RoadRunner that has just the plugin tcp.

Usage: NAME COMMAND [-c FILE]

  serve         start the servers; SIGINT or SIGTERM stops them, a second one exits at once;
                SIGHUP does what reset does
  validate      check the config and print every mistake in it; with --expand, where there is none, the framing
                of every server, with what its protocol fills in
  workers       list the workers of a running one
  reset         replace its workers by new ones; connections stay open
  connections [SERVER]
                list its open connections, or those of one server
  send UUID [TEXT]
                send TEXT to the client of one, or what comes on standard input
  close UUID    close one of its connections
  top           show each second what it does: connections, packets, the queue, workers; as text where the output
                is no terminal
  nodes         list the nodes of its cluster; these commands reach the connections of all of them
  worker echo   be a worker that sends back what it gets (for server.command)
  call ADDRESS TEXT
                send TEXT and CRLF to any server, HOST:PORT or unix://PATH, and print what it answers
  version       print the version
  help          print this

  -c FILE       the config; .rr.yaml in the working directory if not given, and if that is missing too,
                a built-in one: an echo server on tcp://127.0.0.1:7777
  -t DURATION   how long call waits at most; 10s if not given
  -n TIMES      how often top prints, as text; until it is interrupted if not given
`

// Main runs the command that the program's arguments name and exits.
func Main(line Line) { os.Exit(line.run(os.Args[1:])) }

func (l Line) run(args []string) int {
	a, err := parse(args)
	file, words := a.file, a.words
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
		err = l.serve(file)
	case command == "validate":
		err = l.validate(file, false, os.Stdout)
	case command == "validate "+expandFlag:
		err = l.validate(file, true, os.Stdout)
	case command == "workers":
		err = l.workers(file, os.Stdout)
	case command == "reset":
		err = l.reset(file, os.Stdout)
	case command == "top":
		err = l.top(file, a.times, os.Stdout)
	case command == "nodes":
		err = l.nodes(file, os.Stdout)
	case len(words) == 2 && words[0] == "close":
		err = l.closeConnection(file, words[1], os.Stdout)
	case words[0] == "connections" && len(words) <= 2:
		err = l.connections(file, strings.Join(words[1:], ""), os.Stdout)
	case words[0] == "send" && (len(words) == 2 || len(words) == 3):
		err = l.send(file, words[1:], os.Stdin, os.Stdout)
	case words[0] == "send":
		return misused("send: want the UUID of a connection, and a text in quotes or on standard input")
	case words[0] == "close":
		return misused("close: want the UUID of a connection")
	case len(words) == 3 && words[0] == "call":
		err = call(words[1], words[2], a.within, os.Stdout)
	case words[0] == "call":
		return misused("call: want the address of a server and a text")
	case command == "worker echo":
		err = worker.Serve(echo)
	case command == "version":
		fmt.Println(l.version())
	case command == "help":
		fmt.Print(usageText())
	default:
		return misused(fmt.Sprintf("no such command: %q", command))
	}

	if err != nil {
		say("%s", explain(err))
		return 1
	}
	return 0
}

const expandFlag = "--expand"

// arguments are what the program was called with.
type arguments struct {
	file   string        // -c
	within time.Duration // -t
	times  int           // -n
	words  []string      // of the command
}

// parse tells flags from the words of the command, wherever they stand.
func parse(args []string) (a arguments, err error) {
	flags := flag.NewFlagSet("rr", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&a.file, "c", "", "")
	flags.DurationVar(&a.within, "t", callTimeout, "")
	flags.IntVar(&a.times, "n", 0, "")
	expand := flags.Bool("expand", false, "")
	for {
		if err = flags.Parse(args); err != nil || flags.NArg() == 0 {
			if *expand {
				a.words = append(a.words, expandFlag)
			}
			if err == nil {
				err = a.check()
			}
			return a, err
		}
		a.words = append(a.words, flags.Arg(0))
		args = flags.Args()[1:]
	}
}

func (a *arguments) check() error {
	switch {
	case a.within <= 0:
		return fmt.Errorf("-t: %s is no time to wait; want a duration over zero, such as 10s", a.within)
	case a.times < 0:
		return fmt.Errorf("-n: %d is negative; want how often top prints", a.times)
	}
	return nil
}

func misused(why string) int {
	say("%s; %s help lists the commands", why, name())
	return 2
}

// name is what the program was installed as: rr, or rrtcp beside a RoadRunner that is rr.
func name() string { return strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe") }

func usageText() string { return strings.ReplaceAll(usage, "NAME", name()) }

// say prints a line to standard error. Standard output is kept for what was asked for.
func say(format string, a ...any) { fmt.Fprintf(os.Stderr, name()+": "+format+"\n", a...) }

// echo is the built-in worker.
func echo(e worker.Event) (worker.Reply, error) {
	if e.Event == worker.Data {
		return worker.Reply{Context: worker.Write, Body: e.Body}, nil
	}
	return worker.Reply{Context: worker.Continue}, nil
}
