package program

import (
	"errors"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/rrtcp/tcp/internal/telemetry"
)

// NamedLog returns the log of one of RoadRunner's plugins, by its name: without what workers print, and without floods.
func NamedLog(name string, log *zap.Logger) *zap.Logger {
	switch name {
	case serverSection: // the pool logs under this name
		return cutErrors(log)
	case rpcSection:
		return limitLines(log)
	}
	return log
}

// cutErrors makes log cut the errors in its lines: those of RoadRunner's pool, which it logs itself, have what a worker has
// printed, megabytes at times.
func cutErrors(log *zap.Logger) *zap.Logger {
	return log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core { return cutCore{core} }))
}

// sameLines is how many lines of the same text a second are logged.
const sameLines = 10

// limitLines makes log drop lines that are said again and again: where no descriptor is left, RoadRunner's RPC tries to accept a
// client all the time, and logs each error.
func limitLines(log *zap.Logger) *zap.Logger {
	return log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Second, sameLines, 0)
	}))
}

type cutCore struct{ zapcore.Core }

func (c cutCore) With(fields []zapcore.Field) zapcore.Core { return cutCore{c.Core.With(cut(fields))} }

func (c cutCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

func (c cutCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	return c.Core.Write(e, cut(fields))
}

func cut(fields []zapcore.Field) []zapcore.Field {
	all := make([]zapcore.Field, len(fields))
	for i, f := range fields {
		if err, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
			f = zap.NamedError(f.Key, errors.New(telemetry.ErrorText(err)))
		}
		all[i] = f
	}
	return all
}
