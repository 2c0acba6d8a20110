// Package zaplog lets what logs through log/slog write to the *zap.Logger of a host. Only the plugins of RoadRunner lines whose
// logger is zap import it; nothing else below internal knows zap.
package zaplog

import (
	"context"
	"log/slog"
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// slogFrames are the calls between a caller of slog.Logger's methods and Handle.
const slogFrames = 2

// New returns a logger whose lines are those that log would write itself: with its name, fields, hooks, caller and stack.
func New(log *zap.Logger) *slog.Logger {
	return slog.New(&handler{log: log.WithOptions(zap.AddCallerSkip(slogFrames + 1))})
}

type handler struct {
	log    *zap.Logger
	groups []string // that are opened by the next attribute: a group without any is left out
}

var _ slog.Handler = (*handler)(nil)

func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	return h.log.Core().Enabled(zapLevel(level))
}

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	entry := h.log.Check(zapLevel(r.Level), r.Message)
	if entry == nil {
		return nil
	}
	entry.Time = r.Time
	attrs := make([]slog.Attr, 0, r.NumAttrs())
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, a)
		return true
	})
	entry.Write(h.fields(attrs)...)
	return nil
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	fields := h.fields(attrs)
	if len(fields) == 0 {
		return h
	}
	return &handler{log: h.log.With(fields...)}
}

func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return &handler{log: h.log, groups: append(slices.Clone(h.groups), name)}
}

// fields opens the groups that are not yet, unless there are no fields.
func (h *handler) fields(attrs []slog.Attr) []zap.Field {
	fields := make([]zap.Field, 0, len(h.groups)+len(attrs))
	for _, group := range h.groups {
		fields = append(fields, zap.Namespace(group))
	}
	for _, a := range attrs {
		if f := field(a); f.Type != zapcore.SkipType {
			fields = append(fields, f)
		}
	}
	if len(fields) == len(h.groups) {
		return nil
	}
	return fields
}

func field(a slog.Attr) zap.Field {
	value := a.Value.Resolve()
	switch {
	case a.Equal(slog.Attr{}):
		return zap.Skip()
	case value.Kind() != slog.KindGroup:
		return zap.Any(a.Key, value.Any()) // knows errors, durations, strings and numbers
	case len(value.Group()) == 0:
		return zap.Skip()
	case a.Key == "":
		return zap.Inline(group(value.Group()))
	}
	return zap.Object(a.Key, group(value.Group()))
}

// group are the attributes of a slog.Group.
type group []slog.Attr

// MarshalLogObject is for zap.
func (g group) MarshalLogObject(to zapcore.ObjectEncoder) error {
	for _, a := range g {
		field(a).AddTo(to)
	}
	return nil
}

// zapLevel returns the highest level of zap that is not above l.
func zapLevel(l slog.Level) zapcore.Level {
	switch {
	case l >= slog.LevelError:
		return zapcore.ErrorLevel
	case l >= slog.LevelWarn:
		return zapcore.WarnLevel
	case l >= slog.LevelInfo:
		return zapcore.InfoLevel
	}
	return zapcore.DebugLevel
}
