package tcp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/roadrunner-server/endure/v2"
	"github.com/roadrunner-server/sdk/v4/payload"
	"github.com/roadrunner-server/sdk/v4/pool"
	staticPool "github.com/roadrunner-server/sdk/v4/pool/static_pool"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// The plugins that ours needs, as little of them as it asks for. The pool is RoadRunner's own.
type (
	configPlugin struct{ sections }
	loggerPlugin struct{}
	serverPlugin struct {
		t     testing.TB
		pools []*staticPool.Pool
		env   map[string]string
	}
)

func (*configPlugin) Init() error                    { return nil }
func (*configPlugin) Name() string                   { return "config" }
func (*loggerPlugin) Init() error                    { return nil }
func (*loggerPlugin) NamedLogger(string) *zap.Logger { return zap.NewNop() }
func (*serverPlugin) Init() error                    { return nil }
func (s *serverPlugin) NewPool(_ context.Context, cfg *pool.Config, env map[string]string, _ *zap.Logger) (*staticPool.Pool, error) {
	s.env = env
	if len(cfg.Command) > 0 {
		return nil, fmt.Errorf("no such file: %s", cfg.Command)
	}
	s.pools = append(s.pools, realPool(s.t, *cfg))
	return s.pools[len(s.pools)-1], nil
}

func startEndure(t *testing.T, section map[string]any) (*Plugin, *endure.Endure, *serverPlugin, error) {
	c := endure.New(quiet)
	p, server := new(Plugin), &serverPlugin{t: t}
	config := &configPlugin{sections{}}
	if section != nil {
		config.sections["tcp"] = section
	}
	require.NoError(t, c.RegisterAll(p, config, &loggerPlugin{}, server))
	if err := c.Init(); err != nil {
		return p, c, server, err
	}
	_, err := c.Serve()
	t.Cleanup(func() { require.NoError(t, c.Stop()) })
	return p, c, server, err
}

func oneServer(addr string) map[string]any {
	return map[string]any{
		"servers": map[string]any{"echo": map[string]any{"addr": addr}},
		"pool":    map[string]any{"num_workers": 1},
	}
}

func echo(t *testing.T, conn net.Conn, line string) {
	_, err := io.WriteString(conn, line)
	require.NoError(t, err)
	got, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, line, got)
}

func TestThePluginInEndure(t *testing.T) {
	p, _, server, err := startEndure(t, oneServer("127.0.0.1:0"))
	require.NoError(t, err)
	require.Equal(t, map[string]string{"RR_MODE": "tcp"}, server.env)
	require.Equal(t, "tcp", p.Name())
	require.Nil(t, p.Addr("unknown"))
	require.Len(t, p.Workers(), 1)

	conn, err := net.Dial("tcp", p.Addr("echo").String())
	require.NoError(t, err)
	defer conn.Close()
	echo(t, conn, "hello\r\n")
	require.NoError(t, p.Reset())
	echo(t, conn, "sockets outlive workers\r\n")
	require.NoError(t, p.AddWorker())
	require.Len(t, p.Workers(), 2)
	require.NoError(t, p.RemoveWorker(context.Background()))

	response, err := p.Exec(&payload.Payload{Body: []byte("x"), Context: []byte("{}")})
	require.NoError(t, err)
	require.Equal(t, "x", string(response.Body))

	var closed bool
	methods := p.RPC().(*rpc)
	require.Error(t, methods.Close("no uuid", &closed))
	require.False(t, closed)
	require.NoError(t, methods.Close(uuid.NewString(), &closed))
	require.True(t, closed)
	echo(t, conn, "still open\r\n")
	require.NoError(t, methods.Close(p.live.all()[0].uuid, &closed))
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

func TestWithoutItsSectionThePluginIsDisabled(t *testing.T) {
	p, _, _, err := startEndure(t, nil)
	require.NoError(t, err)
	require.Nil(t, p.Addr("echo"))
}

func TestABadConfigFailsInInit(t *testing.T) {
	_, _, _, err := startEndure(t, map[string]any{"dialect": "x", "servers": map[string]any{"a": map[string]any{"addr": "x"}}})
	require.ErrorContains(t, err, "tcp.dialect")
	require.ErrorContains(t, err, "tcp.servers.a.addr")
}

func TestNothingStaysBoundWhenOneAddressIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	path := filepath.Join(t.TempDir(), "a.sock")
	section := oneServer("unix://" + path)
	section["servers"].(map[string]any)["later"] = map[string]any{"addr": taken.Addr().String()}
	section["servers"].(map[string]any)["zlast"] = map[string]any{"addr": "127.0.0.1:0"}
	p, _, server, err := startEndure(t, section)
	require.ErrorContains(t, err, "listen later "+taken.Addr().String())
	require.NoFileExists(t, path)
	require.Empty(t, server.pools, "no worker is started for nothing")
	require.Nil(t, p.Addr("echo"))
}

func TestNothingStaysBoundWhenTheWorkersDoNotStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	section := oneServer("unix://" + path)
	section["pool"].(map[string]any)["command"] = []string{"nothing"}
	_, _, _, err := startEndure(t, section)
	require.ErrorContains(t, err, "start the workers (server.command or tcp.pool.command): no such file")
	require.NoFileExists(t, path)
}

func TestASocketFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	stale.SetUnlinkOnClose(false)
	_, _, _, err = startEndure(t, oneServer("unix://"+path))
	require.ErrorContains(t, err, "another process listens there")
	require.NoError(t, stale.Close())
	require.FileExists(t, path)

	p, c, _, err := startEndure(t, oneServer("unix://"+path))
	require.NoError(t, err)
	conn, err := net.Dial("unix", path)
	require.NoError(t, err)
	defer conn.Close()
	echo(t, conn, "a stale file is replaced\r\n")
	require.Equal(t, path, p.Addr("echo").String())
	require.NoError(t, c.Stop())
	require.NoFileExists(t, path)

	require.NoError(t, os.WriteFile(path, []byte("mine"), 0o600))
	_, _, _, err = startEndure(t, oneServer("unix://"+path))
	require.ErrorContains(t, err, "is a file that is no socket")
	require.FileExists(t, path)
}

func TestStopIsLegalAtAnyTime(t *testing.T) {
	p := new(Plugin)
	require.NoError(t, p.Stop(context.Background()), "before Init")
	require.NoError(t, p.Reset())
	require.Nil(t, p.Workers())
	require.Error(t, p.AddWorker())
	require.Error(t, p.RemoveWorker(context.Background()))

	p, server := new(Plugin), &serverPlugin{t: t}
	require.NoError(t, p.Init(sections{"tcp": oneServer("127.0.0.1:0")}, &loggerPlugin{}, server))
	require.NoError(t, p.Reset(), "before Serve")
	require.NoError(t, p.Stop(context.Background()), "before Serve")
	require.Empty(t, p.Serve())
	require.Nil(t, p.Addr("echo"), "what was stopped does not start")

	p, server = new(Plugin), &serverPlugin{t: t}
	require.NoError(t, p.Init(sections{"tcp": oneServer("127.0.0.1:0")}, &loggerPlugin{}, server))
	require.Empty(t, p.Serve())
	require.NoError(t, p.Stop(context.Background()))
	require.NoError(t, p.Stop(context.Background()), "twice")
	before := server.pools[0].Workers()
	require.NoError(t, p.Reset())
	require.Equal(t, before, server.pools[0].Workers(), "and after it nothing is made again")
	require.Error(t, p.AddWorker())
	_, err := p.Exec(&payload.Payload{Body: []byte("x")})
	require.Error(t, err)
}

func TestStopDuringResetLeavesNoWorkerBehind(t *testing.T) {
	p, server := new(Plugin), &serverPlugin{t: t}
	require.NoError(t, p.Init(sections{"tcp": oneServer("127.0.0.1:0")}, &loggerPlugin{}, server))
	require.Empty(t, p.Serve())
	reset := make(chan error)
	go func() { reset <- p.Reset() }()
	require.Eventually(t, func() bool { return p.queue.pauses.Load() > 0 }, 5*time.Second, 10*time.Microsecond)

	destroyed := make(chan struct{}) // what the host does at the same time
	go func() {
		defer close(destroyed)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		hostStops(ctx, server.pools[0])
	}()
	begin := time.Now()
	require.NoError(t, p.Stop(context.Background()))
	<-destroyed
	<-reset
	// The pool waits ten seconds when it is told twice to stop a worker, and it may be here, by Reset and by Destroy.
	require.Less(t, time.Since(begin), 20*time.Second, "nobody waits for workers that are dead")
	require.Eventually(t, func() bool { return len(server.pools[0].Workers()) == 0 }, 5*time.Second, time.Millisecond)
}

func TestStopCutsWhatStillRunsBeforeTheDeadline(t *testing.T) {
	p, server := new(Plugin), &serverPlugin{t: t}
	require.NoError(t, p.Init(sections{"tcp": oneServer("127.0.0.1:0")}, &loggerPlugin{}, server))
	require.Empty(t, p.Serve())
	conn, err := net.Dial("tcp", p.Addr("echo").String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "hang\r\n")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return p.Workers()[0].StatusStr == "working" }, 5*time.Second, time.Millisecond)

	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	require.NoError(t, p.Stop(ctx))
	require.NoError(t, ctx.Err(), "time is left for the host")
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err)
}

func TestAnswersThatAreOwedGoOutBeforeStopEnds(t *testing.T) {
	section := oneServer("127.0.0.1:0")
	p, server := new(Plugin), &serverPlugin{t: t}
	require.NoError(t, p.Init(sections{"tcp": section}, &loggerPlugin{}, server))
	require.Empty(t, p.Serve())
	var conns []net.Conn
	for range 5 { // one worker: the others wait in the queue
		conn, err := net.Dial("tcp", p.Addr("echo").String())
		require.NoError(t, err)
		defer conn.Close()
		echo(t, conn, "x\r\n")
		conns = append(conns, conn)
	}
	for _, conn := range conns {
		_, err := io.WriteString(conn, "sleep 50ms\r\n")
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return p.queue.length() == 4 }, 5*time.Second, time.Millisecond)
	require.NoError(t, p.Stop(context.Background()))
	for _, conn := range conns {
		b, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Equal(t, "sleep 50ms\r\n", string(b))
	}
}

func TestGrace(t *testing.T) {
	for within, want := range map[time.Duration]time.Duration{30 * time.Second: 25 * time.Second, 3 * time.Second: 2 * time.Second} {
		ctx, cancel := context.WithTimeout(context.Background(), within)
		left, margin := grace(ctx)
		require.InDelta(t, want, left-margin, float64(time.Second))
		cancel()
	}
	left, margin := grace(context.Background())
	require.Equal(t, 25*time.Second, left-margin)
}
