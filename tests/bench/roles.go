package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roadrunner-server/config/v4"
	"github.com/roadrunner-server/endure/v2"
	"github.com/roadrunner-server/informer/v4"
	"github.com/roadrunner-server/logger/v4"
	"github.com/roadrunner-server/metrics/v4"
	"github.com/roadrunner-server/resetter/v4"
	"github.com/roadrunner-server/rpc/v4"
	"github.com/roadrunner-server/sdk/v4/ipc/pipe"
	"github.com/roadrunner-server/sdk/v4/payload"
	"github.com/roadrunner-server/sdk/v4/pool"
	staticPool "github.com/roadrunner-server/sdk/v4/pool/static_pool"
	"github.com/roadrunner-server/server/v4"
	"github.com/roadrunner-server/status/v4"
	"go.uber.org/zap"
)

// ceiling is what the pool does without TCP.
type ceiling struct {
	Execs   int64 // in Elapsed
	Elapsed time.Duration
	CPU     time.Duration // the host's in Elapsed
	Start   time.Duration // until the pool was ready
}

// rate is how many packets of a load these exchanges would be in a second.
func (c ceiling) rate(l load) float64 {
	execs := float64(c.Execs) / c.Elapsed.Seconds()
	switch {
	case l.batch: // one exchange for all
		return execs * float64(l.packets())
	case l.churn: // CONNECTED, DATA and CLOSE
		return execs / 3
	default:
		return execs
	}
}

// measurePool has as many callers as the load has connections, each with what the load gets handed over at once.
func (b *bench) measurePool(l load, worker []string) (c ceiling, err error) {
	size := l.size
	if l.batch {
		size *= l.packets()
	}
	err = runTask("pool", poolTask{l.connections, size, b.warmUp, b.window, worker}, &c)
	return c, err
}

// poolTask is what a process that measures the pool alone gets, in JSON.
type poolTask struct {
	Callers, Each  int // bytes of a packet, or exchanges in a burst
	WarmUp, Window time.Duration
	Worker         []string
}

// runTask runs such a process and reads its result.
func runTask(role string, t poolTask, result any) error {
	task, err := json.Marshal(t)
	if err != nil {
		return err
	}
	cmd, err := inRole(role, string(task))
	if err != nil {
		return err
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("pool: %w", err)
	}
	return json.Unmarshal(out, result)
}

// inTask calls what such a process does.
func inTask(serve func(poolTask) error) error {
	var t poolTask
	if err := json.Unmarshal([]byte(os.Args[1]), &t); err != nil {
		return err
	}
	return serve(t)
}

// servePool is the process that measurePool starts.
func servePool(t poolTask) error {
	begin := time.Now()
	p, err := newPool(t.Worker)
	if err != nil {
		return err
	}
	c := ceiling{Start: time.Since(begin)}

	var execs atomic.Int64
	var stopped atomic.Bool
	var running sync.WaitGroup
	failed := make(chan error, t.Callers) // one from each that fails
	for range t.Callers {
		running.Add(1)
		go func() { // ends when stopped
			defer running.Done()
			for call := newCaller(p, t.Each); !stopped.Load(); execs.Add(1) {
				if err := call(); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	time.Sleep(t.WarmUp)
	cpu, _ := cpuTime(os.Getpid())
	begin, before := time.Now(), execs.Load()
	time.Sleep(t.Window)
	now, err := cpuTime(os.Getpid())
	c.Execs, c.Elapsed, c.CPU = execs.Load()-before, time.Since(begin), now-cpu
	stopped.Store(true)
	running.Wait()
	close(failed)
	return errors.Join(err, <-failed, json.NewEncoder(os.Stdout).Encode(c))
}

// newPool is the pool as the plugin has it.
func newPool(worker []string) (*staticPool.Pool, error) {
	command := func([]string) *exec.Cmd { return exec.Command(worker[0], worker[1:]...) }
	return staticPool.NewPool(context.Background(), command, pipe.NewPipeFactory(zap.NewNop()), poolConfig(), zap.NewNop())
}

func poolConfig() *pool.Config {
	return &pool.Config{NumWorkers: workers, Supervisor: &pool.SupervisorConfig{ExecTTL: time.Hour}}
}

const eventContext = `{"remote_addr":"127.0.0.1:50000","server":"exact",` +
	`"uuid":"01234567-89ab-cdef-0123-456789abcdef","event":"DATA"}`

// newCaller returns a function that makes one exchange with a packet of so many bytes.
func newCaller(p *staticPool.Pool, size int) func() error {
	event := &payload.Payload{Context: []byte(eventContext), Body: bytes.Repeat([]byte("x"), size)}
	stop := make(chan struct{})
	return func() error {
		answer, err := p.Exec(context.Background(), event, stop)
		if err != nil {
			return err
		}
		if a := <-answer; a.Error() != nil || !bytes.Equal(a.Body(), event.Body) {
			return fmt.Errorf("not the answer that was expected: %w", a.Error())
		}
		return nil
	}
}

// serveBare is cmd/rr with another plugin: CONFIG. It shows how near to the pool a plugin can be.
func serveBare(args []string) error {
	c := endure.New(slog.LevelError)
	file := &config.Plugin{Path: args[0], Version: "2024.1.5", Timeout: time.Minute}
	file.Prefix = "rr" //nolint:staticcheck // deprecated, but v2023.3 does not start without
	err := c.RegisterAll(file, &logger.Plugin{}, &server.Plugin{}, &rpc.Plugin{}, &informer.Plugin{}, &resetter.Plugin{},
		&metrics.Plugin{}, &status.Plugin{}, &bare{})
	if err != nil {
		return err
	}
	if err := c.Init(); err != nil {
		return err
	}
	failed, err := c.Serve()
	if err != nil {
		return err
	}
	return (<-failed).Error
}

// bare is a plugin that does what ours does for these loads, and nothing else: it reads, calls the pool and writes.
type bare struct{ pools pooler }

type pooler interface {
	NewPool(ctx context.Context, cfg *pool.Config, env map[string]string, _ *zap.Logger) (*staticPool.Pool, error)
}

func (b *bare) Name() string { return "tcp" }

// Init gets the server plugin from Endure.
func (b *bare) Init(pools pooler) error {
	b.pools = pools
	return nil
}

// Serve accepts connections until the process ends.
func (b *bare) Serve() chan error {
	failed := make(chan error, 1)
	p, err := b.pools.NewPool(context.Background(), poolConfig(), map[string]string{"RR_MODE": "tcp"}, nil)
	if err != nil {
		failed <- err
		return failed
	}
	go func() { failed <- serve(func(conn net.Conn) { exchange(p, conn) }) }() // ends with the process
	return failed
}

// Stop is not called: the process is killed.
func (b *bare) Stop(context.Context) error { return nil }

func exchange(p *staticPool.Pool, conn net.Conn) {
	event := &payload.Payload{Context: []byte(eventContext)}
	stop := make(chan struct{})
	exec := func(body []byte) []byte {
		event.Body = body
		answer, err := p.Exec(context.Background(), event, stop)
		if err != nil {
			return nil
		}
		return (<-answer).Body()
	}
	exec(nil)       // CONNECTED
	defer exec(nil) // CLOSE
	b, held := make([]byte, 4*kib), 0
	for {
		n, err := conn.Read(b[held:])
		if err != nil {
			return
		}
		held += n
		switch {
		case bytes.HasSuffix(b[:held], []byte("\r\n")):
			if _, err := conn.Write(exec(b[:held])); err != nil {
				return
			}
			held = 0
		case held == len(b):
			b = append(b, make([]byte, held)...)
		}
	}
}

// serveFloor echoes until its standard input ends: what the system takes for TCP alone.
func serveFloor() error { return serve(echo) }

func serve(one func(net.Conn)) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "exact listens on tcp://%s\n", l.Addr())
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() { // ends with the client
			defer func() { _ = conn.Close() }()
			one(conn)
		}()
	}
}

func echo(conn net.Conn) {
	b := make([]byte, 64*kib)
	for {
		n, err := conn.Read(b)
		if err != nil {
			return
		}
		if _, err := conn.Write(b[:n]); err != nil {
			return
		}
	}
}
