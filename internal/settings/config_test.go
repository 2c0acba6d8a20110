package settings

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/framing"
)

func TestConfigDefaults(t *testing.T) {
	b := &Server{Addr: ":0", ReadBufferSize: 3}
	b.Delimiter = "x"
	c := &Config{Servers: map[string]*Server{"b": b, "a": {Addr: ":0"}}}
	require.Empty(t, c.Check())
	require.Empty(t, c.Warnings())
	require.Equal(t, []string{"a", "b"}, c.Names())
	require.Equal(t, 1, c.ReadBufferSize)
	require.Equal(t, "released", c.Dialect)
	require.EqualValues(t, 256<<20, c.MemoryLimitBytes())
	require.Equal(t, "\r\n", c.Servers["a"].Delimiter)
	require.Equal(t, 1<<20, c.Servers["a"].Effective().ReadSize)
	require.Equal(t, "x", b.Delimiter)
	require.Equal(t, 3<<20, b.Effective().ReadSize)

	c.MemoryLimit = "0"
	require.Zero(t, c.MemoryLimitBytes(), "no limit")
}

func TestReadBufferSizeInBytes(t *testing.T) {
	c := &Config{Servers: map[string]*Server{"a": {Addr: ":0"}, "b": {Addr: ":0"}}, ReadBufferSize: 50485760}
	require.Empty(t, c.Check())
	require.Equal(t, 50485760, c.Servers["a"].Effective().ReadSize)
	require.Equal(t, []string{"tcp.read_buf_size: 50485760 is over 1024 and taken as bytes; the unit is MB: write 48"}, c.Warnings(),
		"one warning for all servers")

	c = &Config{Servers: map[string]*Server{"a": {Addr: ":0"}}, ReadBufferSize: math.MaxInt}
	require.Empty(t, c.Check(), "old files must still start")
	require.Equal(t, 1<<30, c.Servers["a"].Effective().ReadSize)
	require.Equal(t, []string{fmt.Sprintf("tcp.read_buf_size: %d is over 1024 and taken as bytes; the unit is MB: write 1024", math.MaxInt)}, c.Warnings())

	c = &Config{Servers: map[string]*Server{"a": {Addr: ":0", ReadBufferSize: 1025}, "b": {Addr: ":0", ReadBufferSize: 1024}}}
	require.Empty(t, c.Check())
	require.Equal(t, 1025, c.Servers["a"].Effective().ReadSize)
	require.Equal(t, 1<<30, c.Servers["b"].Effective().ReadSize)
	require.Equal(t, []string{"tcp.servers.a.read_buf_size: 1025 is over 1024 and taken as bytes; the unit is MB: write 1"}, c.Warnings())
}

func TestEscapesInDelimiterWarn(t *testing.T) {
	for delimiter, want := range map[string]bool{
		`\xff`: true, `\x1c\r`: true, `\e`: true, `\u00ff`: true, `\x1`: false, `\d`: false, `\r\n`: true, `\n`: true, "\r\n": false, `\`: false, `a\0`: true, "|": false} {
		s := &Server{Addr: ":0"}
		s.Delimiter = delimiter
		c, err := checked(s)
		require.NoError(t, err)
		require.Equal(t, want, len(c.Warnings()) == 1, "%q: %v", delimiter, c.Warnings())
		require.Equal(t, delimiter, s.Delimiter, "the value stays as it is")
	}

	for delimiter, want := range map[string]string{
		`\xff`: `if the bytes ff were meant, write delimiter_hex: "ff"`, `\x1c\r`: `if "\x1c\r" was meant, write "\x1c\r"`,
	} {
		s := &Server{Addr: ":0"}
		s.Delimiter = delimiter
		c, err := checked(s)
		require.NoError(t, err)
		require.Contains(t, c.Warnings()[0], want)
	}
	rules := &Server{Addr: ":0"}
	rules.Rules = []framing.Rule{{Starts: `\x78`, Framing: "length", Length: &framing.Length{Bytes: 2}}, {Delimiter: `\n`}}
	inRules, err := checked(rules)
	require.NoError(t, err)
	require.Len(t, inRules.Warnings(), 2)
	require.Contains(t, inRules.Warnings()[0], "tcp.servers.a.rules.0.starts: is the 4 characters")
	require.Contains(t, inRules.Warnings()[1], "tcp.servers.a.rules.1.delimiter: is the 2 characters")

	s := &Server{Addr: ":0"}
	s.Delimiters = []string{"\n", `\r`}
	c, err := checked(s)
	require.NoError(t, err)
	require.Equal(t, []string{`tcp.servers.a.delimiters: is the 2 characters \r, a backslash among them; YAML reads escapes in ` +
		`double quotes only: if "\r" was meant, write "\r"`}, c.Warnings())
}

func TestHandshakeLimit(t *testing.T) {
	require.Equal(t, runtime.GOMAXPROCS(0), (&Config{}).HandshakeLimit())
	require.Equal(t, 7, (&Config{MaxHandshakes: ptr(7)}).HandshakeLimit())
	require.Zero(t, (&Config{MaxHandshakes: ptr(0)}).HandshakeLimit(), "0 is no limit")
}

func TestUnreachablePacketSizeWarns(t *testing.T) {
	for size, want := range map[Size]int{"32MB": 0, "33MB": 1, "0": 0, "": 0} {
		c := &Config{MemoryLimit: "64MB", Servers: map[string]*Server{"a": {Addr: ":0", Limits: Limits{MaxPacketSize: size}}}}
		require.Empty(t, c.Check())
		require.Len(t, c.Warnings(), want, size)
		if want > 0 {
			require.Equal(t, "tcp.servers.a.max_packet_size: 33MiB can't be reached: one connection gets half of memory_limit at most; "+
				"make tcp.memory_limit 66MiB or more", c.Warnings()[0])
		}
	}
	buffers := &Config{MemoryLimit: "64MB", Servers: map[string]*Server{"a": {Addr: ":0", Limits: Limits{MaxPacketSize: "1", StreamBuffer: "40MB"}}}}
	require.Empty(t, buffers.Check())
	require.Equal(t, []string{"tcp.servers.a.stream_buffer: 40MiB can't be reached: one connection gets half of memory_limit at most; " +
		"make tcp.memory_limit 80MiB or more"}, buffers.Warnings())
	general := &Config{
		MemoryLimit: "64MB", Limits: Limits{MaxPacketSize: "33MB", StreamBuffer: "33MB"},
		Servers: map[string]*Server{"a": {Addr: ":0"}, "b": {Addr: ":0"}, "c": {Addr: ":0", Limits: Limits{MaxPacketSize: "34MB"}}},
	}
	require.Empty(t, general.Check())
	require.Len(t, general.Warnings(), 3, "one for all servers")
	for i, says := range []string{"tcp.max_packet_size: 33MiB", "tcp.stream_buffer: 33MiB", "tcp.servers.c.max_packet_size: 34MiB"} {
		require.Contains(t, general.Warnings()[i], says+" can't be reached")
	}
	c := &Config{MemoryLimit: "0", Servers: map[string]*Server{"a": {Addr: ":0"}}}
	require.Empty(t, c.Check())
	require.Empty(t, c.Warnings(), "without memory_limit every size can be reached")
}

// A frame to a worker has its size in 32 bits: the rest of a larger one would be frames that its client has written.
func TestPacketsFitIntoFrames(t *testing.T) {
	const most, largestContext = maxPacketSize / mebibyte, 512 << 10 // a state of 64 KiB, each of its bytes escaped
	for size, warns := range map[Size]int{"0": 0, "512MB": 0, "4096": 1, "5GB": 1, "6TB": 1} {
		c := &Config{MemoryLimit: "0", Servers: map[string]*Server{"a": {Addr: ":0", Limits: Limits{MaxPacketSize: size}}, "b": {Addr: ":0"}}}
		require.Empty(t, c.Check())
		packet := int64(c.Servers["a"].Effective().MaxPacketSize)
		require.Positive(t, packet, size)
		require.Less(t, packet+largestContext, int64(math.MaxUint32), size)
		require.Len(t, c.Warnings(), warns, size)
		if warns > 0 {
			require.Equal(t, fmt.Sprintf("tcp.servers.a.max_packet_size: is over %dMB, the most that a worker can be handed at once, and that "+
				"is taken; write less, or 0 for the most", most), c.Warnings()[0])
		}
	}
}

func TestCheckReportsEveryMistake(t *testing.T) {
	c := &lineConfig{
		Config: Config{
			Dialect: "modern", ReadBufferSize: -5, MaxConnections: -1, MaxHandshakes: ptr(-4), MemoryLimit: "much", Bulk: &Bulk{MaxEvents: ptr(1), MaxBytes: "x"},
			Cluster: &Cluster{},
			Limits: Limits{CloseTimeout: ptr(time.Duration(-1)), MaxPacketSize: "-4", PushQueue: "a lot", StreamBuffer: "some", MinRate: "3",
				MaxConnectionsPerIP: ptr(-2)},
			Servers: map[string]*Server{
				"empty": {}, "null": nil, "scheme": {Addr: "udp://:1"}, "port": {Addr: ":99999"}, "a.b": {Addr: ":1"},
				"one":   {Addr: "tcp://127.0.0.1:25", Limits: Limits{IdleTimeout: ptr(-time.Second), MaxPacketSize: "4 MX"}},
				"two":   {Addr: "127.0.0.1:25"},
				"three": {Addr: ":1", Events: []string{"OPEN"}, MaxConnections: -3},
				"size":  {Addr: ":0", ReadBufferSize: -1},
				"u1":    {Addr: "unix:///a"}, "u2": {Addr: "unix:///a"},
			},
		},
		Pool: &poolConfig{AllocateTimeout: -time.Second, Supervisor: &supervisorConfig{ExecTTL: -1}},
	}
	got := strings.Split(errors.Join(c.check()...).Error(), "\n")
	for _, want := range []string{
		`tcp.dialect: unknown dialect "modern"; want "released" or "documented"`,
		`tcp.max_connections: -1 is negative; want a number, or 0`,
		`tcp.max_handshakes: -4 is negative; want a number, or 0`,
		`tcp.memory_limit: "much" is no size; want a number of MB, such as 4, or one with a unit`,
		`tcp.max_packet_size: "-4" is no size`,
		`tcp.push_queue: "a lot" is no size`,
		`tcp.stream_buffer: "some" is no size`,
		`tcp.min_rate: 3 has no unit; want bytes a second with one`,
		`tcp.max_connections_per_ip: -2 is negative`,
		`tcp.close_timeout: -1ns is negative; want a duration such as "10s", or 0 for none`,
		`tcp.bulk.max_events: is 1; want 2 or more, or no section bulk`,
		`tcp.bulk.max_bytes: "x" is no size; want a number of MB`,
		`tcp.cluster: has no engine; want one of the sections nats and redis`,
		`tcp.read_buf_size: -5 is negative; want a number of MB`,
		`tcp.servers.a.b: a server's name can't hold a dot, which separates keys; write a_b`,
		`tcp.servers.empty.addr: is empty; want`,
		`tcp.servers.null.addr: is empty; want`,
		`tcp.servers.one.max_packet_size: "4 MX" is no size`,
		`tcp.servers.one.idle_timeout: -1s is negative`,
		`tcp.servers.port.addr: ":99999" has the port "99999"; want`,
		`tcp.servers.scheme.addr: "udp://:1" has the unknown scheme "udp"; want`,
		`tcp.servers.size.read_buf_size: -1 is negative`,
		`tcp.servers.three.max_connections: -3 is negative`,
		`tcp.servers.three.events: unknown event "OPEN"; want a list of CONNECTED, DATA and CLOSE`,
		`tcp.servers.two.addr: "127.0.0.1:25" is taken by tcp.servers.one; give each server its own address`,
		`tcp.servers.u2.addr: "unix:///a" is taken by tcp.servers.u1`,
		`tcp.pool.allocate_timeout: -1s is negative; want a duration such as "60s"`,
		`tcp.pool.supervisor.exec_ttl: -1ns is negative`,
	} {
		require.NotEmpty(t, got, want)
		require.Contains(t, got[0], want)
		got = got[1:]
	}
	require.Empty(t, got)

	require.ErrorContains(t, errors.Join(new(Config).Check()...), "tcp.servers: is empty; name at least one server with an addr")
}

func TestInitPoolOfEitherLine(t *testing.T) {
	c := new(Config)
	require.Empty(t, c.InitPool(new(poolConfig), 1))
	require.Empty(t, c.InitPool(&poolConfig{AllocateTimeout: time.Second, NumWorkers: 500}, 500))
	require.Empty(t, c.InitPool(&poolConfig{NumWorkers: 501}, 0), "no limit")
	require.Empty(t, c.Warnings())
	var got []string
	for _, err := range c.InitPool(&poolConfig{
		DestroyTimeout: -1, AllocateTimeout: -time.Second,
		Supervisor: &supervisorConfig{ExecTTL: -time.Hour}, NumWorkers: 501,
	}, 500) {
		got = append(got, err.Error())
	}
	require.Equal(t, []string{
		`tcp.pool.allocate_timeout: -1s is negative; want a duration such as "60s"`,
		`tcp.pool.destroy_timeout: -1ns is negative; want a duration such as "60s"`,
		`tcp.pool.supervisor.exec_ttl: -1h0m0s is negative; want a duration such as "60s"`,
		`tcp.pool.num_workers: 501 is over 500, the most that this RoadRunner starts; want fewer`,
	}, got)
}

// What the pool itself changes is no mistake: old files must still start.
func TestChangedPoolValuesWarn(t *testing.T) {
	c := new(Config)
	require.Empty(t, c.InitPool(&poolConfig{DynamicAllocator: &allocatorConfig{MaxWorkers: 101, IdleTimeout: 500 * time.Millisecond}}, 0))
	require.Empty(t, c.InitPool(&poolConfig{DynamicAllocator: &allocatorConfig{IdleTimeout: -time.Minute}}, 0))
	require.Equal(t, []string{
		"tcp.pool.dynamic_allocator.idle_timeout: 500ms is out of range, and the pool takes 1m0s; docs/configuration.md has the range",
		"tcp.pool.dynamic_allocator.max_workers: 101 is out of range, and the pool takes 100; docs/configuration.md has the range",
		"tcp.pool.dynamic_allocator.idle_timeout: -1m0s is out of range, and the pool takes 1m0s; docs/configuration.md has the range",
	}, c.Warnings())
}
