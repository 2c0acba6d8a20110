package zaplog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/slogtest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// verbose is an error that zap makes two fields of.
type verbose struct{}

func (verbose) Error() string              { return "short" }
func (verbose) Format(f fmt.State, _ rune) { fmt.Fprint(f, "long") }

// Users see the same line, byte for byte, whichever logger the plugin calls.
func TestLineIsThatOfZap(t *testing.T) {
	config := zap.NewProductionEncoderConfig() // has caller and stack
	config.TimeKey = zapcore.OmitKey
	config.FunctionKey = "function"
	for name, encoder := range map[string]zapcore.Encoder{
		"json": zapcore.NewJSONEncoder(config), "console": zapcore.NewConsoleEncoder(config),
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			hooked := 0
			direct := zap.New(zapcore.NewCore(encoder, zapcore.AddSync(&out), zap.DebugLevel),
				zap.AddCaller(), zap.AddStacktrace(zap.ErrorLevel), zap.Fields(zap.String("host", "h")),
				zap.Hooks(func(zapcore.Entry) error { hooked++; return nil })).Named("tcp")
			wrapped, ctx, err := New(direct), context.Background(), errors.New("of a test")
			for _, both := range []func(){ // one line of source: the stacks are equal
				func() { direct.Debug("m"); wrapped.Debug("m") },
				func() { direct.Info("m", zap.String("k", "é\n")); wrapped.Info("m", slog.String("k", "é\n")) },
				func() { direct.Warn("m", zap.Int("k", 7)); wrapped.Warn("m", slog.Int("k", 7)) },
				func() { direct.Info("m", zap.Int64("k", -1)); wrapped.Info("m", slog.Int64("k", -1)) },
				func() { direct.Info("m", zap.Duration("k", 1)); wrapped.Info("m", slog.Duration("k", 1)) },
				func() { direct.Error("m", zap.Error(err)); wrapped.Error("m", slog.Any("error", err)) },
				func() { direct.Info("m", zap.Error(verbose{})); wrapped.Info("m", slog.Any("error", verbose{})) },
				func() { direct.Error("m", zap.Any("error", "s")); wrapped.Error("m", slog.Any("error", "s")) },
				func() { direct.Info("m", zap.Any("k", []int{1})); wrapped.Info("m", slog.Any("k", []int{1})) },
				func() { direct.Error("m"); wrapped.LogAttrs(ctx, slog.LevelError, "m") },
			} {
				out.Reset()
				both()
				first, second := out.Bytes()[:out.Len()/2], out.Bytes()[out.Len()/2:]
				require.Equal(t, string(first), string(second))
				require.Contains(t, string(first), "zaplog_test.go", "the caller")
			}
			require.Equal(t, 20, hooked)
		})
	}
}

func TestHandlerKeepsRules(t *testing.T) {
	var out bytes.Buffer
	config := zapcore.EncoderConfig{
		TimeKey: slog.TimeKey, LevelKey: slog.LevelKey, MessageKey: slog.MessageKey,
		EncodeTime: zapcore.RFC3339TimeEncoder, EncodeLevel: zapcore.LowercaseLevelEncoder,
	}
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(config), zapcore.AddSync(&out), zap.DebugLevel))
	slogtest.Run(t,
		func(*testing.T) slog.Handler { out.Reset(); return New(log).Handler() },
		func(t *testing.T) map[string]any {
			var line map[string]any
			require.NoError(t, json.Unmarshal(out.Bytes(), &line))
			return line
		})
}

func TestLevels(t *testing.T) {
	for at, levels := range map[zapcore.Level][]slog.Level{
		zap.DebugLevel: {slog.LevelDebug - 4, slog.LevelDebug, slog.LevelInfo - 1},
		zap.InfoLevel:  {slog.LevelInfo, slog.LevelWarn - 1},
		zap.WarnLevel:  {slog.LevelWarn, slog.LevelError - 1},
		zap.ErrorLevel: {slog.LevelError, slog.LevelError + 4},
	} {
		core, logs := observer.New(at)
		log := New(zap.New(core))
		for _, level := range levels {
			log.Log(context.Background(), level, "m")
			require.Equal(t, at, logs.TakeAll()[0].Level)
		}
		below := log.Enabled(context.Background(), levels[0]-1)
		require.Equal(t, at == zap.DebugLevel, below, "%s: what is below is off", at)
	}
}

var errOfTest = errors.New("of a test")

func logOff(log *slog.Logger) {
	log.LogAttrs(context.Background(), slog.LevelDebug, "m",
		slog.String("server", "s"), slog.Int64("packets", 1<<40), slog.Duration("duration", time.Hour), slog.Any("error", errOfTest))
}

func TestLevelThatIsOffAllocatesNothing(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	log := New(zap.New(core))
	require.Zero(t, testing.AllocsPerRun(100, func() { logOff(log) }))
	require.Zero(t, logs.Len())
}

func BenchmarkLevelOff(b *testing.B) {
	core, _ := observer.New(zap.InfoLevel)
	log := New(zap.New(core))
	b.ReportAllocs()
	for range b.N {
		logOff(log)
	}
}
