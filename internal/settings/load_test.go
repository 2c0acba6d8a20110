package settings

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func typeOf[T any]() reflect.Type { return reflect.TypeOf((*T)(nil)).Elem() }

func TestLoadDecodesSection(t *testing.T) {
	c := new(lineConfig)
	require.NoError(t, c.load(sections{"tcp": m{
		"dialect": "documented", "max_connections": 7, "servers": m{"a": m{"addr": ":0", "delimiter": "|"}},
		"pool": m{"num_workers": 3, "supervisor": m{"max_worker_memory": 4}},
	}}))
	require.Equal(t, "documented", c.Dialect)
	require.Equal(t, 7, c.MaxConnections)
	require.Equal(t, "|", c.Servers["a"].Delimiter)
	require.EqualValues(t, 3, c.Pool.NumWorkers)
	require.EqualValues(t, 4, c.Pool.Supervisor.MaxWorkerMemory)
}

func TestLoadReportsEachKeyOnce(t *testing.T) {
	list := []any{1}
	lines, _ := load(m{"dialect": "x", "read_buf_size": "a", "servers": m{"a": m{"addr": ""}, "b": m{"addr": list}}})
	require.Len(t, lines, 4, "%v", lines)
	joined := strings.Join(lines, "\n")
	for _, key := range []string{"tcp.dialect", "tcp.read_buf_size", "tcp.servers.a.addr", "tcp.servers.b.addr"} {
		require.Equal(t, 1, strings.Count(joined, key+": "), key)
	}

	lines, _ = load(m{"servers": m{"a": "x", "ab": m{"addr": "?"}}})
	require.Len(t, lines, 2, "a mistake in one server hides none in another: %v", lines)

	lines, _ = load(m{"servers": m{"a": "tcp://:1"}})
	require.Equal(t, []string{`tcp.servers.a: "tcp://:1" can't be read; want keys of its own below it`}, lines, "servers is not empty")
	lines, _ = load(m{"servers": m{"a": m{"addr": ":1", "goodbye": m{"idle": m{"a": "b"}}}}})
	require.Equal(t, []string{`tcp.servers.a.goodbye.idle: "map[a:b]" can't be read; want a text`}, lines, "goodbye is not empty")
}

func TestLoadWithoutSection(t *testing.T) {
	err := new(lineConfig).load(sections{"tcp": "x"})
	require.EqualError(t, err, "tcp: is no section; want keys of its own below it, servers among them")
}

// strict is a configuration library that can't decode the section into its struct.
type strict struct{ sections }

func (s strict) UnmarshalKey(name string, out any) error {
	if _, ok := out.(*map[string]any); ok {
		return s.sections.UnmarshalKey(name, out)
	}
	return errors.Join(s.sections.UnmarshalKey(name, out), errors.New("of the library"))
}

func TestLoadReportsDecodingError(t *testing.T) {
	err := new(lineConfig).load(strict{sections{"tcp": with("dialect", "released")}})
	require.EqualError(t, err, "tcp: want keys below it as docs/configuration.md has them: of the library")
	err = new(lineConfig).load(strict{sections{"tcp": with("dialect", []any{1})}})
	require.EqualError(t, err, `tcp.dialect: "[1]" can't be read; want a text`, "the better text is enough")
}

// What stands in the file may be of any type: nothing panics, and every mistake is named by its key.
func FuzzConfig(f *testing.F) {
	for _, section := range []string{
		`{"servers":{"a":{"addr":":0","delimiter":"\n","batch":true,"max_packet_size":"4MB"}},"pool":{"num_workers":1}}`,
		`{"servers":{"a":{"b":{"addr":":0"}}},"memory_limit":"x","max_connections":-1,"idle_timeout":-5,"write_timeout":"1s"}`,
		`{"servers":{"a":null,"b":[],"c":5},"pool":{"supervisor":{"exec_ttl":"-1s"}},"dialect":1,"read_buf_size":1e300}`,
		`{"servers":[1],"pool":"x","max_packet_size":{},"close_timeout":[],"keepalive":true,"reuse_port":"maybe"}`,
		`{"SERVERS":{"A":{"ADDR":"unix://"}},"":{"":{"":{}}},"servers.a":1}`, `{}`, `{"servers":{"":{"addr":"::"}}}`,
	} {
		f.Add([]byte(section))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		var section map[string]any
		if json.Unmarshal(file, &section) != nil || section == nil {
			return
		}
		c := new(lineConfig)
		err := c.load(sections{"tcp": section})
		if err == nil {
			for name, s := range c.Servers {
				e := s.Effective()
				require.NotEmpty(t, e.Network, name)
				require.NotNil(t, e.Framing.Split, name)
				require.Positive(t, e.ReadSize, name)
				require.GreaterOrEqual(t, e.MaxPacketSize, 0, name)
			}
			return
		}
		for _, line := range strings.Split(err.Error(), "\n") {
			require.True(t, strings.HasPrefix(line, "tcp.") || strings.HasPrefix(line, "tcp: "), "%q names no key", line)
		}
	})
}
