package linetest

import (
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/settings"
	"github.com/rrtcp/tcp/internal/settings/settingstest"
)

// Config is what C of RunConfig has. It has fields too: Servers, and Pool, which is a pointer to the pool's own configuration.
type Config[C any] interface {
	*C
	InitDefault() error
	Warnings() []string
}

// RunConfig runs the tests of a line's Config. load is its method, repository the root of the checkout, absent are the keys of
// schema.json that the line does not have.
func RunConfig[C any, P Config[C]](t *testing.T, load func(P, settings.Configurer) error, repository string, absent ...string) {
	withServer := func() (P, reflect.Value) {
		c := P(new(C))
		fields := reflect.ValueOf(c).Elem()
		fields.FieldByName("Servers").Set(reflect.ValueOf(map[string]*settings.Server{"a": {Addr: ":0"}}))
		pool := fields.FieldByName("Pool")
		pool.Set(reflect.New(pool.Type().Elem()))
		return c, pool.Elem()
	}
	t.Run("defaults of the pool", func(t *testing.T) {
		c, pool := withServer()
		require.NoError(t, c.InitDefault())
		execTTL := pool.FieldByName("Supervisor").Elem().FieldByName("ExecTTL")
		require.Equal(t, time.Hour, execTTL.Interface(), "an unsupervised pool heeds no context")
		require.EqualValues(t, runtime.NumCPU(), pool.FieldByName("NumWorkers").Interface())
		execTTL.Set(reflect.ValueOf(time.Second))
		require.NoError(t, c.InitDefault())
		require.Equal(t, time.Second, execTTL.Interface(), "a set one stays")
	})
	t.Run("schema", func(t *testing.T) {
		schema := settingstest.ReadSchema(t, repository)
		schema.RequireKeys(t, *new(C), absent...)
		c, pool := withServer()
		if allocator := pool.FieldByName("DynamicAllocatorOpts"); allocator.IsValid() {
			allocator.Set(reflect.New(allocator.Type().Elem()))
		}
		require.NoError(t, c.InitDefault())
		pool.FieldByName("NumWorkers").SetZero() // the number of CPUs
		schema.RequireSection(t, "pool", pool.Addr().Interface())
	})
	t.Run("empty sections of the pool are sections", func(t *testing.T) {
		c, pool := withServer()
		require.NoError(t, load(c, undecoded{"pool": map[string]any{}}))
		require.False(t, pool.FieldByName("Supervisor").IsNil())
		if allocator := pool.FieldByName("DynamicAllocatorOpts"); allocator.IsValid() {
			require.True(t, allocator.IsNil())
			c, pool = withServer()
			require.NoError(t, load(c, undecoded{"pool": map[string]any{"dynamic_allocator": map[string]any{}}}))
			require.EqualValues(t, 10, pool.FieldByName("DynamicAllocatorOpts").Elem().FieldByName("MaxWorkers").Interface())
		}
	})
	t.Run("what the pool changes or refuses", func(t *testing.T) {
		c, pool := withServer()
		pool.FieldByName("NumWorkers").SetUint(501)
		allocator := pool.FieldByName("DynamicAllocatorOpts")
		if !allocator.IsValid() {
			require.NoError(t, c.InitDefault(), "this line's pool starts any number")
			return
		}
		require.EqualError(t, c.InitDefault(), "tcp.pool.num_workers: 501 is over 500, the most that this RoadRunner starts; want fewer")

		c, pool = withServer()
		allocator = pool.FieldByName("DynamicAllocatorOpts")
		allocator.Set(reflect.New(allocator.Type().Elem()))
		set := func(maxWorkers, spawnRate uint64, idleTimeout time.Duration) {
			allocator.Elem().FieldByName("MaxWorkers").SetUint(maxWorkers)
			allocator.Elem().FieldByName("SpawnRate").SetUint(spawnRate)
			allocator.Elem().FieldByName("IdleTimeout").Set(reflect.ValueOf(idleTimeout))
		}
		set(100, 100, time.Second)
		require.NoError(t, c.InitDefault())
		require.Empty(t, c.Warnings())
		set(5000, 101, time.Second-1)
		require.NoError(t, c.InitDefault(), "old files must still start")
		require.Len(t, c.Warnings(), 3)
		for i, says := range []string{"idle_timeout: 999.999999ms", "max_workers: 5000", "spawn_rate: 101"} {
			require.Contains(t, c.Warnings()[i], "tcp.pool.dynamic_allocator."+says+" is out of range, and the pool takes ")
		}
		set(1, 1, -time.Minute)
		require.NoError(t, c.InitDefault())
		require.Contains(t, c.Warnings()[3], "tcp.pool.dynamic_allocator.idle_timeout: -1m0s is out of range, and the pool takes 1m0s")
	})
	t.Run("keys of the pool are checked", func(t *testing.T) {
		c, pool := withServer()
		pool.FieldByName("AllocateTimeout").Set(reflect.ValueOf(-time.Second))
		err := load(c, undecoded{"pool": map[string]any{
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
	})
}

// undecoded is RoadRunner's config plugin with one section, which is not decoded into structs.
type undecoded map[string]any

// Has is the plugin's Configurer.
func (u undecoded) Has(name string) bool {
	at := any(map[string]any{"tcp": map[string]any(u)})
	for _, key := range strings.Split(name, ".") {
		section, _ := at.(map[string]any)
		at = section[key]
	}
	return at != nil
}

// UnmarshalKey is the plugin's Configurer.
func (u undecoded) UnmarshalKey(_ string, out any) error {
	if raw, ok := out.(*map[string]any); ok {
		*raw = u
	}
	return nil
}
