package settings

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"github.com/rrtcp/tcp/internal/framing"
)

// Limits bound what clients and workers may use. They stand in the section tcp, for all servers, and in a server, for
// that one. What is nil or empty is not set; zero turns a limit off.
type Limits struct {
	// MaxPacketSize bounds the memory that a packet without an end takes; 64 MB by default, maxPacketSize at most, which zero
	// means, too. A longer packet closes the connection: too_long.
	MaxPacketSize Size `mapstructure:"max_packet_size"`
	// OnTooLong is what becomes of a longer packet: "close" (the default), "discard" drops it, "truncate" hands over its first
	// bytes.
	OnTooLong string `mapstructure:"on_too_long"`
	// MaxConnectionsPerIP bounds what one client address can have open at a server; off by default. One more is closed
	// at once. It does not bound clients with many addresses.
	MaxConnectionsPerIP *int `mapstructure:"max_connections_per_ip"`
	// IdleTimeout closes a connection on which no packet begins for so long: idle. Off by default.
	IdleTimeout *time.Duration `mapstructure:"idle_timeout"`
	// IdleOn is what keeps a connection from being idle: "received" (the default), or "any", for which bytes that are written
	// count, too.
	IdleOn string `mapstructure:"idle_on"`
	// PacketTimeout closes a connection on which a packet is begun but not finished for so long: slow. The time during
	// which a reply is owed does not count. Off by default.
	PacketTimeout *time.Duration `mapstructure:"packet_timeout"`
	// WriteTimeout closes a connection whose client takes nothing of an answer for so long: slow; 60 s by default. A
	// client that reads slowly but steadily is not closed.
	WriteTimeout *time.Duration `mapstructure:"write_timeout"`
	// PushQueue bounds what is pushed to a connection and not written yet; 1 MB by default. More is refused: full.
	PushQueue Size `mapstructure:"push_queue"`
	// StreamBuffer is what may wait for a client of a streamed answer whose worker has gone on; off by default: the worker waits
	// until the client has taken each frame.
	StreamBuffer Size `mapstructure:"stream_buffer"`
	// MinRate closes a connection whose client takes less of what waits for it than so much a second, and is 10 s behind: slow. Off
	// by default.
	MinRate Size `mapstructure:"min_rate"`
	// CloseTimeout is how long a worker may take to answer CLOSE before it is replaced; 10 s by default. Without it
	// only exec_ttl bounds that.
	CloseTimeout *time.Duration `mapstructure:"close_timeout"`
	// Keepalive is how long a connection is idle before the system asks whether its client is still there; 15 s by
	// default, maxKeepalive at most.
	Keepalive *time.Duration `mapstructure:"keepalive"`
	// ReusePort lets several processes listen on one port and share its clients (SO_REUSEPORT); false by default.
	ReusePort *bool `mapstructure:"reuse_port"`
}

const (
	defaultMaxPacketSize = 64 * mebibyte
	defaultPushQueue     = mebibyte
	defaultWriteTimeout  = 60 * time.Second
	defaultCloseTimeout  = 10 * time.Second
	defaultKeepalive     = 15 * time.Second

	// maxPacketSize leaves room for the context of an event. RoadRunner's frames have their size in 32 bits and take more for what
	// is left over 4 GiB: the rest of such a packet would be frames of its client's own.
	maxPacketSize = min(4<<30, math.MaxInt/2) - mebibyte

	maxKeepalive = 32767 * time.Second // Linux refuses more, and none would be asked
)

var tooLong = map[string]framing.TooLong{
	"close": framing.TooLongCloses, "discard": framing.TooLongDiscards, "truncate": framing.TooLongTruncates,
}

// Values of Limits.IdleOn.
const (
	IdleOnReceived = "received"
	IdleOnAny      = "any"
)

// limits are those in force for one server. Zero is none; sizes are in bytes.
type limits struct {
	MaxPacketSize       int
	OnTooLong           framing.TooLong
	PushQueue           int
	StreamBuffer        int
	MinRate             int // a second
	MaxConnectionsPerIP int
	IdleTimeout         time.Duration
	IdleOn              string
	PacketTimeout       time.Duration
	WriteTimeout        time.Duration
	CloseTimeout        time.Duration
	Keepalive           time.Duration
	ReusePort           bool
}

// resolve returns the limits in force where l is set for one server and general for all.
func (l *Limits) resolve(general *Limits) limits {
	return limits{
		MaxPacketSize:       l.packetSize(general),
		OnTooLong:           tooLong[cmp.Or(l.OnTooLong, general.OnTooLong, "close")],
		PushQueue:           intOr(defaultPushQueue, l.PushQueue, general.PushQueue),
		StreamBuffer:        intOr(0, l.StreamBuffer, general.StreamBuffer),
		MinRate:             intOr(0, l.MinRate, general.MinRate),
		MaxConnectionsPerIP: firstSet(0, l.MaxConnectionsPerIP, general.MaxConnectionsPerIP),
		IdleTimeout:         firstSet(0, l.IdleTimeout, general.IdleTimeout),
		IdleOn:              cmp.Or(l.IdleOn, general.IdleOn, IdleOnReceived),
		PacketTimeout:       firstSet(0, l.PacketTimeout, general.PacketTimeout),
		WriteTimeout:        firstSet(defaultWriteTimeout, l.WriteTimeout, general.WriteTimeout),
		CloseTimeout:        firstSet(defaultCloseTimeout, l.CloseTimeout, general.CloseTimeout),
		Keepalive:           firstSet(defaultKeepalive, l.Keepalive, general.Keepalive),
		ReusePort:           firstSet(false, l.ReusePort, general.ReusePort),
	}
}

func (l *Limits) packetSize(general *Limits) int {
	n := sizeOr(defaultMaxPacketSize, l.MaxPacketSize, general.MaxPacketSize)
	if n == 0 {
		n = maxPacketSize
	}
	return int(min(n, maxPacketSize))
}

// setDefault fills in what is not set.
func setDefault[T any](value **T, otherwise T) {
	if *value == nil {
		*value = &otherwise
	}
}

func firstSet[T any](otherwise T, values ...*T) T {
	for _, v := range values {
		if v != nil {
			return *v
		}
	}
	return otherwise
}

func (l *Limits) checkLimits(key string) (errs []error) {
	errs = append(errs, checkSize(key+".max_packet_size", l.MaxPacketSize), checkSize(key+".push_queue", l.PushQueue),
		checkSize(key+".stream_buffer", l.StreamBuffer), checkRate(key+".min_rate", l.MinRate))
	if _, ok := tooLong[l.OnTooLong]; !ok && l.OnTooLong != "" {
		errs = append(errs, fmt.Errorf("%s.on_too_long: unknown value %q; want \"close\", \"discard\" or \"truncate\"", key, l.OnTooLong))
	}
	if l.IdleOn != "" && l.IdleOn != IdleOnReceived && l.IdleOn != IdleOnAny {
		errs = append(errs, fmt.Errorf("%s.idle_on: unknown value %q; want %q or %q", key, l.IdleOn, IdleOnReceived, IdleOnAny))
	}
	if n := l.MaxConnectionsPerIP; n != nil {
		errs = append(errs, checkNumber(key+".max_connections_per_ip", *n))
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
	}{
		{"idle_timeout", l.IdleTimeout}, {"packet_timeout", l.PacketTimeout}, {"write_timeout", l.WriteTimeout},
		{"close_timeout", l.CloseTimeout}, {"keepalive", l.Keepalive},
	} {
		if d.value != nil {
			errs = append(errs, checkDuration(key+"."+d.name, *d.value))
		}
	}
	if l.Keepalive != nil && *l.Keepalive > maxKeepalive {
		errs = append(errs, fmt.Errorf("%s.keepalive: %s is over %s, which is the most that a system takes; want less, or 0 for none",
			key, *l.Keepalive, maxKeepalive))
	}
	if l.ReusePort != nil && *l.ReusePort && !canReusePort {
		errs = append(errs, fmt.Errorf("%s.reuse_port: this system has no SO_REUSEPORT; leave it out", key))
	}
	return errs
}

func checkNumber(key string, n int) error {
	if n < 0 {
		return fmt.Errorf("%s: %d is negative; want a number, or 0 for no limit", key, n)
	}
	return nil
}

func checkDuration(key string, d time.Duration) error {
	if d < 0 {
		return fmt.Errorf("%s: %s is negative; want a duration such as \"10s\", or 0 for none", key, d)
	}
	return nil
}
