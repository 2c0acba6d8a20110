package tcp

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
)

// Limits bound what clients and workers may use. They stand in the section tcp, for all servers, and in a server, for
// that one. What is nil or empty is not set; zero turns a limit off.
type Limits struct {
	// MaxPacketSize bounds the memory that a packet without an end takes; 64 MB by default. Past it the connection is
	// closed: too_long.
	MaxPacketSize Size `mapstructure:"max_packet_size"`
	// MaxConnectionsPerIP bounds what one client address can have open at a server; off by default. One more is closed
	// at once. It does not bound clients with many addresses.
	MaxConnectionsPerIP *int `mapstructure:"max_connections_per_ip"`
	// IdleTimeout closes a connection on which no packet begins for so long: idle. Off by default.
	IdleTimeout *time.Duration `mapstructure:"idle_timeout"`
	// PacketTimeout closes a connection on which a packet is begun but not finished for so long: slow. The time during
	// which a reply is owed does not count. Off by default.
	PacketTimeout *time.Duration `mapstructure:"packet_timeout"`
	// WriteTimeout closes a connection whose client takes nothing of an answer for so long: slow; 60 s by default. A
	// client that reads slowly but steadily is not closed.
	WriteTimeout *time.Duration `mapstructure:"write_timeout"`
	// PushQueue bounds what is pushed to a connection and not written yet; 1 MB by default. More is refused: full.
	PushQueue Size `mapstructure:"push_queue"`
	// CloseTimeout is how long a worker may take to answer CLOSE before it is replaced; 10 s by default. Without it
	// only exec_ttl bounds that.
	CloseTimeout *time.Duration `mapstructure:"close_timeout"`
	// Keepalive is how long a connection is idle before the system asks whether its client is still there; 15 s by
	// default.
	Keepalive *time.Duration `mapstructure:"keepalive"`
	// ReusePort lets several processes listen on one port and share its clients (SO_REUSEPORT); false by default.
	ReusePort *bool `mapstructure:"reuse_port"`
}

// Size is an amount of memory as it stands in the configuration: a number of MB, or a number with a unit: "64KiB",
// "4MB". As everywhere in RoadRunner 1 KB is 1024 bytes.
type Size string

func (s Size) bytes() (int64, error) {
	n, err := strconv.ParseFloat(string(s), 64)
	text := string(s)
	if err == nil {
		text = strconv.FormatFloat(n, 'f', -1, 64) + "MB"
	}
	b, err := units.RAMInBytes(text)
	if err != nil || b < 0 || b == 0 && strings.ContainsAny(text, "123456789") {
		return 0, fmt.Errorf(`%q is no size; want a number of MB, such as 4, or one with a unit, such as "64KiB"`, string(s))
	}
	return b, nil
}

const (
	defaultMaxPacketSize = 64 * mebibyte
	defaultMemoryLimit   = 256 * mebibyte
	defaultPushQueue     = mebibyte
	defaultWriteTimeout  = 60 * time.Second
	defaultCloseTimeout  = 10 * time.Second
	defaultKeepalive     = 15 * time.Second
)

// limits are those of one server, resolved. Zero is none.
type limits struct {
	packet           int // bytes
	push             int // bytes
	connectionsPerIP int
	idle             time.Duration
	packetTime       time.Duration
	write            time.Duration
	close            time.Duration
	keepalive        time.Duration
	reusePort        bool
}

// over is what is in force where l is set for one server and general for all.
func (l *Limits) over(general *Limits) limits {
	return limits{
		packet:           int(sizeOr(defaultMaxPacketSize, l.MaxPacketSize, general.MaxPacketSize)),
		push:             int(sizeOr(defaultPushQueue, l.PushQueue, general.PushQueue)),
		connectionsPerIP: firstOf(0, l.MaxConnectionsPerIP, general.MaxConnectionsPerIP),
		idle:             firstOf(0, l.IdleTimeout, general.IdleTimeout),
		packetTime:       firstOf(0, l.PacketTimeout, general.PacketTimeout),
		write:            firstOf(defaultWriteTimeout, l.WriteTimeout, general.WriteTimeout),
		close:            firstOf(defaultCloseTimeout, l.CloseTimeout, general.CloseTimeout),
		keepalive:        firstOf(defaultKeepalive, l.Keepalive, general.Keepalive),
		reusePort:        firstOf(false, l.ReusePort, general.ReusePort),
	}
}

func firstOf[T any](otherwise T, set ...*T) T {
	for _, v := range set {
		if v != nil {
			return *v
		}
	}
	return otherwise
}

// sizeOr is the first size that is set. Those that are wrong were reported by check.
func sizeOr(otherwise int64, set ...Size) int64 {
	for _, s := range set {
		if s != "" {
			n, _ := s.bytes()
			return n
		}
	}
	return otherwise
}

func (l *Limits) check(key string) (errs []error) {
	for _, s := range []struct {
		name string
		set  Size
	}{{"max_packet_size", l.MaxPacketSize}, {"push_queue", l.PushQueue}} {
		if _, err := s.set.bytes(); s.set != "" && err != nil {
			errs = append(errs, fmt.Errorf("%s.%s: %w", key, s.name, err))
		}
	}
	if n := l.MaxConnectionsPerIP; n != nil {
		errs = append(errs, notNegative(key+".max_connections_per_ip", *n))
	}
	for _, d := range []struct {
		name string
		set  *time.Duration
	}{
		{"idle_timeout", l.IdleTimeout}, {"packet_timeout", l.PacketTimeout}, {"write_timeout", l.WriteTimeout},
		{"close_timeout", l.CloseTimeout}, {"keepalive", l.Keepalive},
	} {
		if d.set != nil {
			errs = append(errs, notNegativeDuration(key+"."+d.name, *d.set))
		}
	}
	if l.ReusePort != nil && *l.ReusePort && !canReusePort {
		errs = append(errs, fmt.Errorf("%s.reuse_port: this system has no SO_REUSEPORT; leave it out", key))
	}
	return errs
}

func notNegative(key string, n int) error {
	if n < 0 {
		return fmt.Errorf("%s: %d is negative; want a number, or 0 for no limit", key, n)
	}
	return nil
}

func notNegativeDuration(key string, d time.Duration) error {
	if d < 0 {
		return fmt.Errorf("%s: %s is negative; want a duration such as \"10s\", or 0 for none", key, d)
	}
	return nil
}

// The ends that limits bring.
var (
	errTooLong       = errors.New("the packet is longer than max_packet_size")
	errMemory        = errors.New("memory_limit is used up")
	errIdle          = errors.New("no packet began within idle_timeout")
	errPacketTimeout = errors.New("the packet was not finished within packet_timeout")
	errWriteTimeout  = errors.New("the client took nothing of the answer, or not all of a frame, within write_timeout")
)
