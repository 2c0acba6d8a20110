package program

import (
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/rrtcp/tcp/internal/settings"
)

// validate prints everything that is wrong with a config, a line each. Nothing is started, and nothing is listened on. Where there is
// nothing, expand prints the framing of every server as it is in force.
func (l Line) validate(file string, expand bool, out io.Writer) error {
	c, from, err := l.load(file)
	if err != nil {
		return err
	}
	name := from.Path
	if name == "" {
		name = "the built-in config"
	}

	found := append(l.mistakes(c), l.changed(c, from)...)
	for _, mistake := range found {
		fmt.Fprintln(out, mistake)
	}
	if n := len(found); n > 0 {
		return fmt.Errorf("%s: %d to correct", name, n)
	}
	if expand {
		return printExpanded(c, out)
	}
	_, err = fmt.Fprintln(out, name+": nothing to correct")
	return err
}

func printExpanded(c Config, out io.Writer) error {
	tcp := new(settings.Config)
	if err := tcp.Load(c, tcp, tcp.Check); err != nil {
		return err
	}
	_, err := io.WriteString(out, tcp.Expand())
	return err
}

func (l Line) mistakes(c Config) (found []string) {
	if _, err := l.readOptions(c); err != nil {
		found = append(found, lines(err)...)
	}
	found = append(found, l.inSections(c)...)
	if c.Has(tcpSection) {
		found = append(found, l.inTCP(c)...)
	}
	return found
}

// inTCP is what the plugin says when it starts, warnings too.
func (l Line) inTCP(c Config) (found []string) {
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{}), zapcore.AddSync(io.Discard), zap.WarnLevel)
	log := zap.New(core, zap.Hooks(func(e zapcore.Entry) error {
		found = append(found, e.Message)
		return nil
	}))
	if err := l.CheckTCP(c, warnings{log}); err != nil {
		found = append(found, lines(err)...)
	}
	return found
}

type warnings struct{ log *zap.Logger }

func (w warnings) NamedLogger(string) *zap.Logger { return w.log }

// elsewhere are sections of RoadRunner's other plugins, which this program doesn't have. A config may have them, for a
// RoadRunner that does; they are not looked into here.
var elsewhere = []string{
	"amqp", "app", "beanstalk", "boltdb", "centrifuge", "fileserver", "google_pub_sub", "grpc", "http", "jobs", "kafka", "kv",
	"lock", "memcached", "memory", "nats", "otel", "redis", "reload", "service", "sqs", "temporal",
}

// inSections finds sections that nothing reads, and in those of the host what can't be read.
func (l Line) inSections(c Config) (found []string) {
	all := make(map[string]any)
	if err := c.Unmarshal(&all); err != nil {
		return lines(err)
	}
	known := l.sections()
	for _, name := range settings.SortedKeys(all) {
		section, ok := known[name]
		switch {
		case ok:
			found = append(found, section.mistakes(c, name)...)
		case slices.Contains([]string{tcpSection, "version", "include"}, name), slices.Contains(elsewhere, name):
		default:
			found = append(found, name+": no plugin reads this section; is it misspelt?")
		}
	}
	return found
}

// Section is one that a host plugin reads.
type Section struct {
	Into  any          // what it is decoded into: a pointer to a struct with the plugin's keys
	Check func() error // what the plugin checks in Into when it starts; nil: nothing
}

// sections are those of the host plugins, and Endure's own.
func (l Line) sections() map[string]Section {
	all := l.Sections()
	endure := new(endureKeys)
	all[endureSection] = Section{Into: endure, Check: endure.check}
	return all
}

// endureKeys are of any type: readOptions has read what counts here, and the rest is RoadRunner's.
type endureKeys struct {
	GracePeriod any `mapstructure:"grace_period"`
	LogLevel    any `mapstructure:"log_level"`
	PrintGraph  any `mapstructure:"print_graph"`
	WatchdogSec any `mapstructure:"watchdog_sec"`
}

func (e *endureKeys) check() error {
	if n, ok := e.GracePeriod.(int); ok && n > 0 {
		return fmt.Errorf("endure.grace_period: %d without a unit is a number of nanoseconds; write a duration such as \"30s\"", n)
	}
	return nil
}

// mistakes decodes the section, and finds keys that nothing reads.
func (s Section) mistakes(c Config, name string) (found []string) {
	for _, key := range unknown(name, c.Get(name), reflect.TypeOf(s.Into)) {
		found = append(found, key+": unknown key, ignored")
	}
	err := c.UnmarshalKey(name, s.Into)
	if err == nil && s.Check != nil {
		err = s.Check()
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
		fields = settings.Keys(like)
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
