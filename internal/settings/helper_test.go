package settings

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"time"
)

// lineConfig is the section tcp as a RoadRunner line has it.
type lineConfig struct {
	Config `mapstructure:",squash"`
	Pool   *poolConfig `mapstructure:"pool"`
}

// poolConfig looks like pool.Config of the lines.
type poolConfig struct {
	Debug            bool
	Command          []string          `mapstructure:"command"`
	NumWorkers       uint64            `mapstructure:"num_workers"`
	AllocateTimeout  time.Duration     `mapstructure:"allocate_timeout"`
	DestroyTimeout   time.Duration     `mapstructure:"destroy_timeout"`
	Supervisor       *supervisorConfig `mapstructure:"supervisor"`
	DynamicAllocator *allocatorConfig  `mapstructure:"dynamic_allocator"`
}

type supervisorConfig struct {
	ExecTTL         time.Duration `mapstructure:"exec_ttl"`
	MaxWorkerMemory uint64        `mapstructure:"max_worker_memory"`
}

type allocatorConfig struct {
	MaxWorkers  uint64        `mapstructure:"max_workers"`
	IdleTimeout time.Duration `mapstructure:"idle_timeout"`
}

func (p *poolConfig) InitDefaults() {
	if p.NumWorkers == 0 {
		p.NumWorkers = 1
	}
	if a := p.DynamicAllocator; a != nil {
		a.MaxWorkers = min(a.MaxWorkers, 100)
		if a.IdleTimeout < time.Second {
			a.IdleTimeout = time.Minute
		}
	}
}

func (c *lineConfig) check() []error {
	if c.Pool == nil {
		c.Pool = new(poolConfig)
	}
	return append(c.Check(), c.InitPool(c.Pool, 500)...)
}

func (c *lineConfig) load(from Configurer) error { return c.Load(from, c, c.check) }

type m = map[string]any

// load returns the error of a section, line by line, and its warnings.
func load(section m) (lines, warnings []string) {
	c := new(lineConfig)
	if err := c.load(sections{"tcp": section}); err != nil {
		lines = strings.Split(err.Error(), "\n")
	}
	return lines, c.Warnings()
}

// withServer is a section with a server a that has one key besides its address.
func withServer(key string, value any) m { return m{"servers": m{"a": m{"addr": ":0", key: value}}} }

// with is a section with a server and one more key.
func with(key string, value any) m { return m{"servers": m{"a": m{"addr": ":0"}}, key: value} }

// checked is a Config with one server, and what Check says about it.
func checked(s *Server) (*Config, error) {
	c := &Config{Servers: map[string]*Server{"a": s}}
	return c, errors.Join(c.Check()...)
}

// sections is RoadRunner's config plugin: what stands below the name of a section, as YAML is decoded.
type sections map[string]any

func (s sections) Has(name string) bool { return s.get(name) != nil }

func (s sections) get(name string) any {
	at := any(m(s))
	for _, key := range strings.Split(name, ".") {
		section, _ := at.(m)
		at = section[key]
	}
	return at
}

// withoutEmpty is what RoadRunner's config plugin leaves of a section: without a key that has a value there is nothing of it.
func withoutEmpty(section m) m {
	left := make(m)
	for key, value := range section {
		inner, isMap := value.(m)
		list, isList := value.([]any)
		switch {
		case isMap:
			if inner = withoutEmpty(inner); len(inner) > 0 {
				left[key] = inner
			}
		case !isList || len(list) > 0:
			left[key] = value
		}
	}
	return left
}

var jsonKey = regexp.MustCompile(`"[^"]*":`)

// UnmarshalKey decodes with encoding/json, which matches keys to fields in any case, but not without underscores.
func (s sections) UnmarshalKey(name string, out any) error {
	if raw, ok := out.(*map[string]any); ok {
		section, ok := s[name].(map[string]any)
		if !ok {
			return errors.New("not a map")
		}
		*raw = withoutEmpty(section)
		return nil
	}
	if value, ok := out.(*any); ok {
		*value = s.get(name)
		return nil
	}
	section, _ := s.get(name).(map[string]any)
	b, err := json.Marshal(withoutEmpty(section))
	if err != nil {
		return err
	}
	b = jsonKey.ReplaceAllFunc(b, func(key []byte) []byte {
		switch strings.TrimSuffix(strings.Trim(string(key), `":`), "_hex") {
		case "packet_size", "skip_empty", "delimiter", "delimiters", "starts", "until":
			return key // has a JSON tag of its own
		}
		return bytes.ReplaceAll(key, []byte("_"), nil)
	})
	return json.Unmarshal(b, out)
}

func ptr[T any](v T) *T { return &v }
