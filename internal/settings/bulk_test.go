package settings

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBulkLimits(t *testing.T) {
	for name, c := range map[string]struct {
		bulk          *Bulk
		events, bytes int
	}{
		"no section":        {nil, 0, 0},
		"an empty section":  {&Bulk{}, 64, 256 << 10},
		"values of its own": {&Bulk{MaxEvents: 3, MaxBytes: "1KB"}, 3, 1024},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := &Config{Servers: map[string]*Server{"a": {Addr: ":0"}}, Bulk: c.bulk}
			require.Empty(t, cfg.Check())
			events, bytes := cfg.BulkLimits()
			require.Equal(t, []int{c.events, c.bytes}, []int{events, bytes})
		})
	}
}

// The configuration library leaves an empty section out of what it decodes.
func TestEmptyBulkIsASection(t *testing.T) {
	section := map[string]any{"servers": map[string]any{"a": map[string]any{"addr": ":0"}}}
	for name, want := range map[string]int{"tcp.bulk": defaultBulkEvents, "tcp.other": 0} {
		c := new(lineConfig)
		require.NoError(t, c.Load(sections{"tcp": section, name: map[string]any{}}, c, c.check))
		events, _ := c.BulkLimits()
		require.Equal(t, want, events)
	}
}
