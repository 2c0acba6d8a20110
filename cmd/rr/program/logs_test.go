package program

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestCutErrors(t *testing.T) {
	core, logged := observer.New(zapcore.InfoLevel)
	log := cutErrors(zap.New(core)).With(zap.Error(errors.New("invalid message: a packet")))
	log.Warn("x", zap.NamedError("why", errors.New(strings.Repeat("y", 1000))), zap.Int("pid", 7), zap.Error(nil))
	log.Debug("below the level")
	require.Equal(t, 1, logged.Len())
	require.Equal(t, map[string]any{
		"error": "invalid message: 8 bytes, which are not logged", "why": strings.Repeat("y", 256), "pid": int64(7),
	}, logged.All()[0].ContextMap())
}
