package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/roadrunner-server/config/v4"
	"github.com/roadrunner-server/server/v4"
	"github.com/rrtcp/tcp"
)

const configFile = ".rr.yaml"

//go:embed default.rr.yaml
var defaultConfig string

// builtinConfig is the config that runs this program as its own worker.
func builtinConfig() ([]byte, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	// A list of two and more is run as it is: the path may hold spaces. JSON is YAML.
	command, err := json.Marshal([]string{path, "worker", "echo"})
	if err != nil {
		return nil, err
	}
	return []byte(strings.Replace(defaultConfig, "command: COMMAND", "command: "+string(command), 1)), nil
}

// load reads the file; with no name, the one in the working directory or else the built-in config. The plugin that comes
// back can be asked at once; Endure will make it read everything again.
func load(file string) (*config.Plugin, error) {
	c := &config.Plugin{Path: file, Version: roadRunner}
	c.Prefix = "rr" //nolint:staticcheck // deprecated, but v2023.3 does not start without
	if file == "" {
		c.Path = configFile
		if _, err := os.Stat(configFile); errors.Is(err, fs.ErrNotExist) {
			c.Path, c.Type = "", "yaml"
			if c.ReadInCfg, err = builtinConfig(); err != nil {
				return nil, err
			}
		}
	}

	if err := c.Init(); err != nil {
		return nil, fmt.Errorf("config %s: %s", c.Path, strings.TrimPrefix(explain(err), "config: "))
	}
	return c, nil
}

// options are the parts of the config that no plugin reads.
type options struct {
	grace    time.Duration
	logLevel slog.Level
	servers  []string // names, sorted
}

func readOptions(c *config.Plugin) (options, error) {
	o := options{grace: 30 * time.Second, logLevel: endureLevel}
	var section struct {
		GracePeriod time.Duration `mapstructure:"grace_period"`
		LogLevel    string        `mapstructure:"log_level"`
	}
	var errs []error
	if err := c.UnmarshalKey("endure", &section); err != nil {
		errs = append(errs, fmt.Errorf("endure: %s", explain(err)))
	}
	if section.GracePeriod > 0 {
		o.grace = section.GracePeriod
	}
	if level := strings.Replace(section.LogLevel, "warning", "warn", 1); level != "" {
		if err := o.logLevel.UnmarshalText([]byte(level)); err != nil {
			errs = append(errs, fmt.Errorf("endure.log_level: %q is none of debug, info, warn, error", level))
		}
	}

	// RoadRunner takes a plugin without its section for one that nobody wants, and starts without a word.
	if !c.Has(tcp.PluginName) {
		errs = append(errs, errors.New("section tcp is missing: there is nothing to serve"))
	}
	if !c.Has(server.PluginName) {
		errs = append(errs, errors.New("section server is missing: its key command says how a worker is started"))
	}

	servers, _ := c.Get(tcp.PluginName + ".servers").(map[string]any)
	for name := range servers {
		o.servers = append(o.servers, name)
	}
	slices.Sort(o.servers)
	return o, errors.Join(errs...)
}
