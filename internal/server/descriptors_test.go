package server

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/settings"
)

func TestFreeDescriptors(t *testing.T) {
	require.Equal(t, 1024-2*4-36, freeDescriptors(1024, 2, time.Hour), "the sum in docs/operations.md")
	require.Equal(t, 1024-2*(4+24)-36, freeDescriptors(1024, 2, 5*time.Second), "each look of a supervisor takes one")
	require.Equal(t, 1024-100*4-36, freeDescriptors(1024, dispatch.Unlimited, 0))
	require.Equal(t, 1, freeDescriptors(20, 2, 0))
}

func TestDescriptorsBoundConnections(t *testing.T) {
	require.Equal(t, 20, maxConnections(0, 20))
	require.Equal(t, 20, maxConnections(21, 20))
	require.Equal(t, 19, maxConnections(19, 20))

	if descriptorLimit() == 0 {
		t.Skip("the system does not tell")
	}
	free := freeDescriptors(descriptorLimit(), 1, 0)
	for configured, level := range map[int]slog.Level{0: slog.LevelInfo, free + 1: slog.LevelWarn, free: -1} {
		p := newPlugin(t, settings.Config{MaxConnections: configured, Servers: map[string]*settings.Server{"a": {Addr: "127.0.0.1:0"}}})
		require.Equal(t, free, p.limiter.limit)
		require.Empty(t, p.Serve())
		said := p.logs.Saying("more clients wait to be accepted")
		if level < 0 {
			require.Empty(t, said)
		} else {
			require.Len(t, said, 1)
			require.Equal(t, level, said[0].Level)
		}
		require.NoError(t, p.Stop(context.Background()))
	}
}
