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
		"values of its own": {&Bulk{MaxEvents: ptr(3), MaxBytes: "1KB"}, 3, 1024},
		"more than a frame": {&Bulk{MaxBytes: "6GB"}, 64, maxPacketSize / 2},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := &Config{Servers: map[string]*Server{"a": {Addr: ":0"}}, Bulk: c.bulk}
			require.Empty(t, cfg.Check())
			events, bytes := cfg.BulkLimits()
			require.Equal(t, []int{c.events, c.bytes}, []int{events, bytes})
		})
	}
}

// Zero turns other limits off; without events, or bytes of them, there would be no bulk.
func TestBulkOfNothingIsRefused(t *testing.T) {
	for key, value := range map[string]any{"max_events": 0, "max_bytes": "0"} {
		lines, _ := load(with("bulk", m{key: value}))
		require.Len(t, lines, 1, "%v", lines)
		require.Contains(t, lines[0], "tcp.bulk."+key+": is 0; want ")
		require.Contains(t, lines[0], ", or no section bulk to send each event alone")
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
