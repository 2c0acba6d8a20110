package main

import (
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"sort"
	"strings"

	"github.com/roadrunner-server/config/v4"
	rrerrors "github.com/roadrunner-server/errors"
	"github.com/roadrunner-server/logger/v4"
	"github.com/roadrunner-server/metrics/v4"
	rpcplugin "github.com/roadrunner-server/rpc/v4"
	"github.com/roadrunner-server/server/v4"
	"github.com/roadrunner-server/status/v4"
	"github.com/rrtcp/tcp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// validate prints everything that is wrong with a config, a line each. Nothing is started, and nothing is listened on.
func validate(file string, out io.Writer) error {
	c, err := load(file)
	if err != nil {
		return err
	}
	name := c.Path
	if name == "" {
		name = "the built-in config"
	}

	found := mistakes(c)
	for _, mistake := range found {
		fmt.Fprintln(out, mistake)
	}
	if n := len(found); n > 0 {
		return fmt.Errorf("%s: %d to correct", name, n)
	}
	_, err = fmt.Fprintln(out, name+": nothing to correct")
	return err
}

func mistakes(c *config.Plugin) (found []string) {
	if _, err := readOptions(c); err != nil {
		found = append(found, lines(err)...)
	}
	found = append(found, inSections(c)...)
	if c.Has(tcp.PluginName) {
		found = append(found, inTCP(c)...)
	}
	return found
}

// inTCP is what the plugin says when it starts, warnings too.
func inTCP(c *config.Plugin) (found []string) {
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{}), zapcore.AddSync(io.Discard), zap.WarnLevel)
	log := zap.New(core, zap.Hooks(func(e zapcore.Entry) error {
		found = append(found, e.Message)
		return nil
	}))
	if err := new(tcp.Plugin).Init(c, warnings{log}, nil); err != nil {
		found = append(found, lines(err)...)
	}
	return found
}

type warnings struct{ log *zap.Logger }

func (w warnings) NamedLogger(string) *zap.Logger { return w.log }

// elsewhere are sections of RoadRunner's other plugins, which this program doesn't have. A config may have them, for a
// RoadRunner that does; nobody looks into them here.
var elsewhere = []string{
	"amqp", "app", "beanstalk", "boltdb", "centrifuge", "fileserver", "google_pub_sub", "grpc", "http", "jobs", "kafka", "kv",
	"lock", "memcached", "memory", "nats", "otel", "redis", "reload", "service", "sqs", "temporal",
}

// inSections finds sections that nobody reads, and in those of the host what can't be read.
func inSections(c *config.Plugin) (found []string) {
	all := make(map[string]any)
	if err := c.Unmarshal(&all); err != nil {
		return lines(err)
	}
	known := sections()
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		section, ok := known[name]
		switch {
		case ok:
			found = append(found, section.mistakes(c, name)...)
		case slices.Contains([]string{tcp.PluginName, "version", "include"}, name), slices.Contains(elsewhere, name):
		default:
			found = append(found, name+": no plugin reads this section; is it misspelt?")
		}
	}
	return found
}

// section is one that a plugin of the host reads.
type section struct {
	into  any          // what it is decoded into
	check func() error // what the plugin checks when it starts; nil: nothing
}

func sections() map[string]section {
	var (
		s   server.Config
		rpc rpcplugin.Config
	)
	return map[string]section{
		server.PluginName: {&s, s.InitDefaults},
		rpcplugin.PluginName: {&rpc, func() error {
			rpc.InitDefaults()
			return rpc.Valid()
		}},
		metrics.PluginName: {&metrics.Config{}, nil},
		status.PluginName:  {&status.Config{}, nil},
		logger.PluginName: {&struct {
			logger.Config        `mapstructure:",squash"`
			logger.ChannelConfig `mapstructure:",squash"`
		}{}, nil},
		"endure": {&struct { // readOptions has read what counts here; the rest is RoadRunner's
			GracePeriod any `mapstructure:"grace_period"`
			LogLevel    any `mapstructure:"log_level"`
			PrintGraph  any `mapstructure:"print_graph"`
			WatchdogSec any `mapstructure:"watchdog_sec"`
		}{}, nil},
	}
}

// mistakes decodes the section, and finds keys that nobody reads.
func (s section) mistakes(c *config.Plugin, name string) (found []string) {
	for _, key := range unknown(name, c.Get(name), reflect.TypeOf(s.into)) {
		found = append(found, key+": unknown key, ignored")
	}
	err := c.UnmarshalKey(name, s.into)
	if err == nil && s.check != nil {
		err = s.check()
	}
	if err != nil {
		found = append(found, attribute(name, explain(err)))
	}
	return found
}

// unknown are the keys below a value that what it is decoded into has not.
func unknown(path string, value any, like reflect.Type) (found []string) {
	for like.Kind() == reflect.Pointer {
		like = like.Elem()
	}
	inner, ok := value.(map[string]any)
	if !ok {
		return nil
	}
	fields := make(map[string]reflect.Type)
	if like.Kind() == reflect.Struct {
		fields = keysOf(like)
	}
	for key, value := range inner {
		field, ok := fields[strings.ToLower(key)]
		switch {
		case like.Kind() == reflect.Map:
			found = append(found, unknown(path+"."+key, value, like.Elem())...)
		case ok:
			found = append(found, unknown(path+"."+key, value, field)...)
		case like.Kind() == reflect.Struct:
			found = append(found, path+"."+key)
		}
	}
	slices.Sort(found)
	return found
}

// keysOf are a struct's keys as the config plugin matches them: tag or name, in any case.
func keysOf(t reflect.Type) map[string]reflect.Type {
	keys := make(map[string]reflect.Type)
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("mapstructure"), ",")
		switch {
		case options == "squash":
			maps.Copy(keys, keysOf(field.Type))
			continue
		case name == "":
			name = field.Name
		}
		keys[strings.ToLower(name)] = field.Type
	}
	return keys
}

// lines are the errors that were joined, each as a line.
func lines(err error) (all []string) {
	for {
		e, ok := err.(*rrerrors.Error) // it has no Unwrap
		if !ok || e.Err == nil {
			break
		}
		err = e.Err
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []string{explain(err)}
	}
	for _, err := range joined.Unwrap() {
		all = append(all, lines(err)...)
	}
	return all
}
