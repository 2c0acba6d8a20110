package program

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/rrtcp/tcp/internal/settings"
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

// source finds the file, the one in the working directory where file is empty, or else the built-in config.
func source(file string) (Source, error) {
	if file != "" {
		return Source{Path: file}, nil
	}
	if _, err := os.Stat(configFile); !errors.Is(err, fs.ErrNotExist) {
		return Source{Path: configFile}, nil
	}
	yaml, err := builtinConfig()
	return Source{YAML: yaml}, err
}

// load reads the config for a command. The plugin that comes back has been initialized.
func (l Line) load(file string) (Config, Source, error) {
	from, err := source(file)
	if err != nil {
		return nil, from, err
	}
	c := l.Config(from)
	if err := c.Init(); err != nil {
		return nil, from, fmt.Errorf("config %s: %s", from.Path, strings.TrimPrefix(explain(err), "config: "))
	}
	return c, from, nil
}

// options are the parts of the config that no plugin reads.
type options struct {
	grace    time.Duration
	logLevel slog.Level
	servers  []string // names, sorted
}

func (l Line) readOptions(c Config) (options, error) {
	o := options{grace: 30 * time.Second, logLevel: l.LogLevel}
	var section struct {
		GracePeriod time.Duration `mapstructure:"grace_period"`
		LogLevel    string        `mapstructure:"log_level"`
	}
	var errs []error
	if err := c.UnmarshalKey(endureSection, &section); err != nil {
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

	// RoadRunner disables a plugin whose section is missing, and starts without a message.
	if !c.Has(tcpSection) {
		errs = append(errs, errors.New("section tcp is missing or empty: there is nothing to serve"))
	}
	if !c.Has(serverSection) {
		errs = append(errs, errors.New("section server is missing or empty: its key command says how a worker is started"))
	}

	servers, _ := c.Get(tcpSection + ".servers").(map[string]any)
	o.servers = settings.SortedKeys(servers)
	return o, errors.Join(errs...)
}
