// Package logtest is a log that tests look into. Only tests import it.
package logtest

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
)

// Line is one line of a log.
type Line struct {
	Level   slog.Level
	Message string
	Attrs   map[string]any // an error is its text, as in every log
}

// Log has the lines of a logger. Any goroutine may use it.
type Log struct {
	level slog.Level
	mu    sync.Mutex
	lines []Line
}

// New returns a logger with the level, and the log it writes to.
func New(level slog.Level) (*slog.Logger, *Log) {
	l := &Log{level: level}
	return slog.New(handler{log: l}), l
}

// Discard returns a logger that is off.
func Discard() *slog.Logger {
	logger, _ := New(math.MaxInt)
	return logger
}

// All returns the lines so far.
func (l *Log) All() []Line {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

// Len is the number of lines so far.
func (l *Log) Len() int { return len(l.All()) }

// At returns the lines of exactly that level.
func (l *Log) At(level slog.Level) []Line {
	return slices.DeleteFunc(l.All(), func(line Line) bool { return line.Level != level })
}

// Saying returns the lines whose message has the words.
func (l *Log) Saying(words string) []Line {
	return slices.DeleteFunc(l.All(), func(line Line) bool { return !strings.Contains(line.Message, words) })
}

type handler struct {
	log   *Log
	attrs []slog.Attr
}

func (h handler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.log.level }

func (h handler) Handle(_ context.Context, r slog.Record) error {
	line := Line{Level: r.Level, Message: r.Message, Attrs: make(map[string]any)}
	add := func(a slog.Attr) bool {
		if a.Equal(slog.Attr{}) {
			return true
		}
		line.Attrs[a.Key] = a.Value.Any()
		if err, ok := a.Value.Any().(error); ok {
			line.Attrs[a.Key] = err.Error()
		}
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)

	h.log.mu.Lock()
	defer h.log.mu.Unlock()
	h.log.lines = append(h.log.lines, line)
	return nil
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{log: h.log, attrs: append(slices.Clone(h.attrs), attrs...)}
}

// WithGroup panics: nothing here logs groups.
func (h handler) WithGroup(string) slog.Handler { panic("logtest: groups are not supported") }
