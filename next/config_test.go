package tcp

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/roadrunner-server/pool/v2/fsm"
	"github.com/roadrunner-server/pool/v2/pool"
	"github.com/roadrunner-server/pool/v2/state/process"
	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/settings"
	"github.com/rrtcp/tcp/internal/settings/settingstest"
	"github.com/rrtcp/tcp/internal/telemetry"
)

func configWithServer() *Config {
	return &Config{Config: settings.Config{Servers: map[string]*Server{"a": {Addr: ":0"}}}}
}

func TestConfigPoolDefaults(t *testing.T) {
	c := configWithServer()
	require.NoError(t, c.InitDefault())
	require.Equal(t, time.Hour, c.Pool.Supervisor.ExecTTL, "an unsupervised pool heeds no context")
	require.EqualValues(t, runtime.NumCPU(), c.Pool.NumWorkers)
	c.Pool.Supervisor.ExecTTL = time.Second
	require.NoError(t, c.InitDefault())
	require.Equal(t, time.Second, c.Pool.Supervisor.ExecTTL, "a set one stays")
}

func TestSchemaMatchesConfig(t *testing.T) {
	schema := settingstest.ReadSchema(t, "..")
	schema.RequireKeys(t, Config{})
	c := configWithServer()
	c.Pool = &pool.Config{DynamicAllocatorOpts: &pool.DynamicAllocationOpts{}}
	require.NoError(t, c.InitDefault())
	c.Pool.NumWorkers = 0 // the number of CPUs
	schema.RequireSection(t, "pool", c.Pool)
}

// section is RoadRunner's config plugin with one section, which is not decoded into structs.
type section map[string]any

func (s section) Has(name string) bool { return name == PluginName }

func (s section) UnmarshalKey(_ string, out any) error {
	if raw, ok := out.(*map[string]any); ok {
		*raw = s
	}
	return nil
}

func TestPoolKeysAreValidated(t *testing.T) {
	c := configWithServer()
	c.Pool = &pool.Config{AllocateTimeout: -time.Second}
	err := c.load(section{"pool": map[string]any{
		"debug": true, "num_worker": 1, "max_jobs": -1, "supervisor": map[string]any{"exec_ttl": "soon", "ttl": 10, "max_memory": 1},
	}})
	require.Equal(t, []string{
		`tcp.pool.max_jobs: "-1" can't be read; want a whole number, not below zero`,
		`tcp.pool.supervisor.exec_ttl: "soon" can't be read; want a duration with its unit, such as "10s"`,
		`tcp.pool.allocate_timeout: -1s is negative; want a duration such as "60s"`,
	}, strings.Split(err.Error(), "\n"))
	require.Equal(t, []string{
		"tcp.pool.num_worker: unknown key, ignored; the nearest known one is num_workers",
		"tcp.pool.supervisor.max_memory: unknown key, ignored; the nearest known one is max_worker_memory",
		`tcp.pool.supervisor.ttl: 10 without a unit is a number of nanoseconds; write a duration such as "10s"`,
	}, c.Warnings())
}

func TestWorkerStatesOfThisLine(t *testing.T) {
	require.Equal(t, []int64{fsm.StateReady, fsm.StateWorking, fsm.StateDestroyed},
		[]int64{telemetry.WorkerReady, telemetry.WorkerWorking, telemetry.WorkerDestroyed})
	state := &process.State{Pid: 1, Status: fsm.StateReady, StatusStr: "ready"}
	require.Equal(t, &telemetry.Worker{Pid: 1, Status: telemetry.WorkerReady, StatusStr: "ready"}, (*telemetry.Worker)(state))
}
