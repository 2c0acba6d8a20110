package program

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/roadrunner-server/endure/v2"
)

// host is a RoadRunner: the plugins in their container.
type host struct {
	options
	container *endure.Endure
	tcp       TCP
}

// serve runs until a signal comes or a plugin fails.
func (l Line) serve(file string) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	reloads := make(chan os.Signal, 1)
	signal.Notify(reloads, syscall.SIGHUP) // to the end: it must not cut a stop short
	// Go ends a program that writes to a standard error whose reader has ended, unless this signal is wanted. Ignored, it would be so in
	// workers, too.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	all := replaceOutputs()
	defer all.restore()
	defer all.stop()
	manager := newNotifier()

	h, err := l.newHost(file)
	if err != nil {
		return err
	}

	started := make(chan startResult, 1)
	go h.start(started) // ends with the start; a start that hangs ends with the program
	var failed <-chan *endure.Result
	for {
		select {
		case s := <-started:
			if s.err != nil {
				go exitOn(signals) // ends with the program
				all.stop()
				return errors.Join(errors.New(explain(s.err)), h.stop(false)) // the tcp plugin may serve
			}
			failed = s.failed
			h.announce()
			manager.send("READY=1")
			go manager.watch(h.isWell) // ends with the program
			go h.reloadOn(reloads)     // as well
		case f := <-failed:
			plugin := strings.TrimSuffix(strings.TrimPrefix(f.VertexID, "*"), ".Plugin")
			err = errors.New(attribute(plugin, explain(f.Error)))
			go exitOn(signals) // ends with the program
			all.stop()
			return errors.Join(err, h.stop(true))
		case <-signals:
			go exitOn(signals) // ends with the program
			all.stop()
			manager.send("STOPPING=1")
			say("stopping, in %s at most", h.grace)
			return h.stop(failed != nil)
		}
	}
}

func (l Line) newHost(file string) (*host, error) {
	c, from, err := l.load(file)
	if err != nil {
		return nil, err
	}
	if from.Path == "" {
		say("no %s here: running the built-in echo server", configFile)
	}

	o, err := l.readOptions(c)
	if err != nil {
		return nil, fmt.Errorf("config %s: %w", from.Path, err)
	}
	if err = rpcIsFree(c); err != nil {
		return nil, err
	}

	h := &host{
		options:   o,
		container: endure.New(o.logLevel, endure.GracefulShutdownTimeout(o.grace)),
		tcp:       l.TCP(),
	}
	from.Stop = o.grace
	all := append([]any{l.Config(from)}, l.Plugins()...)
	if err = h.container.RegisterAll(append(all, h.tcp)...); err != nil {
		return nil, err
	}
	return h, h.container.Init()
}

// rpcIsFree finds out whether another program has the rpc address. The rpc plugin would not: it shares a TCP port
// (SO_REUSEPORT) and replaces a unix socket, and then half of the calls, or none, would reach the right rr.
func rpcIsFree(c Config) error {
	if !c.Has(rpcSection) {
		return nil
	}
	listen, err := rpcListen(c)
	if err != nil {
		return err
	}

	network, address, _ := strings.Cut(listen, "://")
	switch network {
	case "tcp":
		l, err := net.Listen(network, address)
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("rpc.listen: %w", err)
		}
		if err == nil {
			return l.Close()
		}
	case "unix":
		if conn, err := net.Dial(network, address); err == nil {
			_ = conn.Close()
			return fmt.Errorf("rpc.listen: %s: %w", listen, syscall.EADDRINUSE)
		}
	}
	return nil // any other mistake is the rpc plugin's to report
}

type startResult struct {
	failed <-chan *endure.Result
	err    error
}

func (h *host) start(done chan<- startResult) {
	failed, err := h.container.Serve()
	done <- startResult{failed, err}
}

// announce says what listens where.
func (h *host) announce() {
	for _, name := range h.servers {
		if a := h.tcp.Addr(name); a != nil {
			say("%s listens on %s://%s", name, a.Network(), a)
		}
	}
}

// isWell returns when the tcp plugin answers.
func (h *host) isWell() { h.tcp.Addr("") }

// reloadOn renews workers and certificates at each signal. Several that come meanwhile are one.
func (h *host) reloadOn(signals <-chan os.Signal) {
	for range signals {
		say("renewing workers and certificates; connections stay")
		if err := h.tcp.Reset(); err != nil {
			say("renewing failed: %s", explain(err))
			continue
		}
		say("renewed")
	}
}

// cleanUp is the most that the container gets for its part of the end. Nothing it could wait for is left by then, but
// the server plugin sleeps for a second and, if a worker was killed while it was idle, waits for it in vain.
const cleanUp = 2 * time.Second

// exitTime is what is left for the program itself to end within the grace period.
const exitTime = 250 * time.Millisecond

// stop ends everything within the grace period.
//
// RoadRunner stops all plugins at the same time, and of these the server plugin destroys the pool: replies that are owed
// to clients and the last events of connections would find no worker. So the tcp plugin is stopped before the others;
// that it is stopped again with them does nothing. A container that has not started can't be stopped.
func (h *host) stop(started bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), h.grace-min(h.grace/20, exitTime))
	defer cancel()
	deadline, _ := ctx.Deadline()

	done := make(chan error, 1)
	go func() { // ends with the clean-up; what hangs ends with the program
		err := h.tcp.Stop(ctx)
		if started {
			rest := min(cleanUp, time.Until(deadline)-2*time.Second)
			endure.GracefulShutdownTimeout(max(rest, 100*time.Millisecond))(h.container)
			err = errors.Join(err, h.container.Stop())
		}
		done <- err
	}()

	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		say("the end of the grace period cut the clean-up")
		return nil
	}
}

// exitOn ends the program at the next signal.
func exitOn(signals <-chan os.Signal) {
	<-signals
	os.Exit(1)
}
