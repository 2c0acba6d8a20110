package settings

import (
	"fmt"

	"github.com/rrtcp/tcp/internal/framing"
	"github.com/rrtcp/tcp/internal/wire"
)

// Goodbye is the section goodbye of a server: what a client gets before the plugin closes its connection, by the reason. Keys that
// end in Hex are in hexadecimal digits.
type Goodbye struct {
	Idle        string `mapstructure:"idle"`
	IdleHex     string `mapstructure:"idle_hex"`
	Slow        string `mapstructure:"slow"`
	SlowHex     string `mapstructure:"slow_hex"`
	TooLong     string `mapstructure:"too_long"`
	TooLongHex  string `mapstructure:"too_long_hex"`
	Framing     string `mapstructure:"framing"`
	FramingHex  string `mapstructure:"framing_hex"`
	Memory      string `mapstructure:"memory"`
	MemoryHex   string `mapstructure:"memory_hex"`
	Overload    string `mapstructure:"overload"`
	OverloadHex string `mapstructure:"overload_hex"`
	// Error is for a worker that has failed, or has answered with what is no reply.
	Error       string `mapstructure:"error"`
	ErrorHex    string `mapstructure:"error_hex"`
	Shutdown    string `mapstructure:"shutdown"`
	ShutdownHex string `mapstructure:"shutdown_hex"`
}

// maxGoodbye is the most that a client gets, in bytes: a system takes so much at once.
const maxGoodbye = 512

// goodbye is one of a Goodbye.
type goodbye struct {
	name, text, hex string
	reasons         []wire.Reason
}

func (g *Goodbye) all() []goodbye {
	return []goodbye{
		{"idle", g.Idle, g.IdleHex, []wire.Reason{wire.ReasonIdle}},
		{"slow", g.Slow, g.SlowHex, []wire.Reason{wire.ReasonSlow}},
		{"too_long", g.TooLong, g.TooLongHex, []wire.Reason{wire.ReasonTooLong}},
		{"framing", g.Framing, g.FramingHex, []wire.Reason{wire.ReasonFraming}},
		{"memory", g.Memory, g.MemoryHex, []wire.Reason{wire.ReasonMemory}},
		{"overload", g.Overload, g.OverloadHex, []wire.Reason{wire.ReasonOverload}},
		{"error", g.Error, g.ErrorHex, []wire.Reason{wire.ReasonError, wire.ReasonReply}},
		{"shutdown", g.Shutdown, g.ShutdownHex, []wire.Reason{wire.ReasonShutdown}},
	}
}

// check returns every mistake; key is the section's.
func (g *Goodbye) check(key string) (errs []error) {
	if *g == (Goodbye{}) {
		return []error{fmt.Errorf(`%s: is empty; want last words by the reason, such as idle: "421 timeout\r\n", or leave it out`, key)}
	}
	fail := func(name, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s.%s: %s", key, name, fmt.Sprintf(format, args...)))
	}
	for _, words := range g.all() {
		framing.CheckBytes(fail, words.name, words.text, words.hex)
		if n := len(framing.BytesOf(words.text, words.hex)); n > maxGoodbye {
			name := words.name
			if words.hex != "" {
				name += "_hex"
			}
			fail(name, "has %d bytes; want %d at most", n, maxGoodbye)
		}
	}
	return errs
}

// bytes returns what is said for each reason.
func (g *Goodbye) bytes() map[wire.Reason][]byte {
	if g == nil {
		return nil
	}
	found := make(map[wire.Reason][]byte)
	for _, words := range g.all() {
		for _, reason := range words.reasons {
			if b := framing.BytesOf(words.text, words.hex); len(b) > 0 {
				found[reason] = b
			}
		}
	}
	return found
}
