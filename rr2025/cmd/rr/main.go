// Command rr is a RoadRunner v2025.1 that holds the tcp plugin and what it needs, and nothing else. This file is its list of
// plugins; the program itself is package program.
package main

import (
	"log/slog"

	"github.com/roadrunner-server/config/v5"
	"github.com/roadrunner-server/endure/v2/dep"
	"github.com/roadrunner-server/informer/v5"
	"github.com/roadrunner-server/logger/v5"
	"github.com/roadrunner-server/metrics/v5"
	"github.com/roadrunner-server/resetter/v5"
	"github.com/roadrunner-server/rpc/v5"
	"github.com/roadrunner-server/server/v5"
	"github.com/roadrunner-server/status/v5"
	"go.uber.org/zap"

	"github.com/rrtcp/tcp/cmd/rr/program"
	tcp "github.com/rrtcp/tcp/rr2025"
)

func main() { program.Main(line) }

// logs is RoadRunner's logger plugin, whose lines have no packets of clients.
type logs struct{ logger.Plugin }

// Provides tells Endure of CutLogger.
func (l *logs) Provides() []*dep.Out { return []*dep.Out{dep.Bind((*logger.Logger)(nil), l.CutLogger)} }

// CutLogger is what other plugins get.
func (l *logs) CutLogger() *cutLogger { return &cutLogger{l.ServiceLogger()} }

type cutLogger struct{ *logger.Log }

func (l *cutLogger) NamedLogger(name string) *zap.Logger {
	return program.NamedLog(name, l.Log.NamedLogger(name))
}

var line = program.Line{
	Release:  "2025.1.15",
	LogLevel: slog.LevelError, // Endure can not be told to log less
	Config: func(from program.Source) program.Config {
		return &config.Plugin{Path: from.Path, Type: "yaml", ReadInCfg: from.YAML, Timeout: from.Stop, Version: "2025.1.15"}
	},
	Plugins: func() []any {
		return []any{
			&logs{}, &server.Plugin{}, &rpc.Plugin{}, &informer.Plugin{}, &resetter.Plugin{}, &metrics.Plugin{},
			&status.Plugin{},
		}
	},
	TCP:      func() program.TCP { return &tcp.Plugin{} },
	CheckTCP: func(c program.Config, log program.Logger) error { return new(tcp.Plugin).Init(c, log, nil) },
	Sections: func() map[string]program.Section {
		s, r := &server.Config{}, &rpc.Config{}
		return map[string]program.Section{
			server.PluginName: {Into: s, Check: s.InitDefaults},
			rpc.PluginName: {Into: r, Check: func() error {
				r.InitDefaults()
				return program.CheckRPC(r.Listen)
			}},
			metrics.PluginName: {Into: &metrics.Config{}},
			status.PluginName:  {Into: &status.Config{}},
			logger.PluginName: {Into: &struct {
				logger.Config        `mapstructure:",squash"`
				logger.ChannelConfig `mapstructure:",squash"`
			}{}},
		}
	},
}
