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
	for name, want := range map[string]int{"bulk": defaultBulkEvents, "other": 0} {
		c := new(lineConfig)
		require.NoError(t, c.Load(sections{"tcp": with(name, m{})}, c, c.check))
		events, _ := c.BulkLimits()
		require.Equal(t, want, events)
	}
}
