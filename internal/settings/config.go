package settings

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/docker/go-units"

	"github.com/rrtcp/tcp/internal/wire"
)

// Config is the section tcp of the configuration without the pool. Its zero values are the documented defaults.
type Config struct {
	// Servers by name. Names are free, but without a dot; the configuration library makes them lower case.
	Servers map[string]*Server `mapstructure:"servers"`
	// ReadBufferSize is the most that is read from a connection at once, in MB; 1 by default. A number over 1024 is
	// taken as bytes.
	ReadBufferSize int `mapstructure:"read_buf_size"`
	// Dialect is "released" (the default) or "documented": CLOSED for CLOSE and the bare IP for ip:port.
	Dialect string `mapstructure:"dialect"`
	// MemoryLimit is what all connections may hold together in buffers and unwritten answers; 256 MB by default.
	MemoryLimit Size `mapstructure:"memory_limit"`
	// MaxConnections bounds the open connections of all servers together; 0, the default, is no limit. More clients
	// wait in the system's queue of the listening socket.
	MaxConnections int `mapstructure:"max_connections"`
	// MaxHandshakes bounds how many TLS handshakes of all servers are computed at once; the number of processors by default,
	// 0 is no limit. More wait their turn, within handshake_timeout.
	MaxHandshakes *int `mapstructure:"max_handshakes"`
	// Bulk lets events go to a worker together; nil, the default, sends each alone.
	Bulk *Bulk `mapstructure:"bulk"`
	// Cluster lets other nodes reach the connections of this one, and the other way round; nil, the default, is a node alone.
	Cluster *Cluster `mapstructure:"cluster"`
	Limits  `mapstructure:",squash"`

	warnings []string
}

const (
	sectionName = "tcp"
	poolKey     = "tcp.pool"
	clusterKey  = "tcp.cluster"

	mebibyte           = 1 << 20
	maxMegabytes       = 1024 // a larger read_buf_size is in bytes
	defaultMemoryLimit = 256 * mebibyte
)

// Check fills in the defaults and checks everything. It returns all mistakes; each error begins with the key that it is about.
func (c *Config) Check() []error {
	errs := c.checkGlobals()
	if len(c.Servers) == 0 {
		errs = append(errs, errors.New("tcp.servers: is empty; name at least one server with an addr"))
	}

	var checked []string
	for _, name := range c.Names() {
		key := "tcp.servers." + name
		if strings.Contains(name, ".") {
			errs = append(errs, fmt.Errorf("%s: %s", key, dotInName(name)))
			continue
		}
		if c.Servers[name] == nil {
			c.Servers[name] = new(Server)
		}
		errs = append(errs, c.Servers[name].check(key, c)...)
		errs = append(errs, c.checkCollision(name, checked))
		checked = append(checked, name)
	}
	return slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}

func (c *Config) checkGlobals() (errs []error) {
	switch c.Dialect {
	case "":
		c.Dialect = wire.DialectReleased
	case wire.DialectReleased, wire.DialectDocumented:
	default:
		errs = append(errs, fmt.Errorf("tcp.dialect: unknown dialect %q; want %q or %q",
			c.Dialect, wire.DialectReleased, wire.DialectDocumented))
	}

	errs = append(errs, checkNumber("tcp.max_connections", c.MaxConnections),
		checkNumber("tcp.max_handshakes", firstSet(0, c.MaxHandshakes)), checkSize("tcp.memory_limit", c.MemoryLimit))
	errs = append(errs, c.checkLimits(sectionName)...)
	errs = append(errs, c.Bulk.check()...)
	errs = append(errs, c.Cluster.check()...)

	if c.ReadBufferSize == 0 {
		c.ReadBufferSize = 1
	}
	return append(errs, c.checkReadBufferSize("tcp.read_buf_size", c.ReadBufferSize))
}

// checkCollision compares the address of a server with those of the servers before it.
func (c *Config) checkCollision(name string, before []string) error {
	server := c.Servers[name]
	for _, other := range before {
		if server.address.collides(c.Servers[other].address) {
			return fmt.Errorf("tcp.servers.%s.addr: %q is taken by tcp.servers.%s; give each server its own address",
				name, server.Addr, other)
		}
	}
	return nil
}

// checkReadBufferSize warns of a number of bytes: configurations of the first releases have them.
func (c *Config) checkReadBufferSize(key string, size int) error {
	switch {
	case size < 0:
		return fmt.Errorf("%s: %d is negative; want a number of MB, such as 1", key, size)
	case size > maxMegabytes:
		c.warn("%s: %d is over %d and taken as bytes; the unit is MB: write %d",
			key, size, maxMegabytes, max(1, (readSize(size)+mebibyte/2)/mebibyte))
	}
	return nil
}

// readSize returns a read_buf_size in bytes. More than can be said in MB is cut off: sums with it can't overflow.
func readSize(size int) int {
	if size > maxMegabytes {
		return min(size, maxMegabytes*mebibyte)
	}
	return size * mebibyte
}

// warn adds a warning, once.
func (c *Config) warn(format string, args ...any) {
	if warning := fmt.Sprintf(format, args...); !slices.Contains(c.warnings, warning) {
		c.warnings = append(c.warnings, warning)
	}
}

// warnOfSize warns of a size that no connection reaches, once where it is set for all servers. own is what the server with that key
// has.
func (c *Config) warnOfSize(server, name string, own Size, size int) {
	half := c.MemoryLimitBytes() / 2
	if half == 0 || int64(size) <= half {
		return
	}
	c.warn("%s.%s: %s can't be reached: one connection gets half of memory_limit at most; make tcp.memory_limit %s or more",
		sectionOfLimit(server, own), name, units.BytesSize(float64(size)), units.BytesSize(2*float64(size)))
}

// warnOfPacketSize warns of a max_packet_size, in bytes, that is more than there can be. server and own are as in warnOfSize.
func (c *Config) warnOfPacketSize(server string, own Size, size int64) {
	if size > maxPacketSize {
		c.warn("%s.max_packet_size: is over %dMB, the most that a worker can be handed at once, and that is taken; write less, or 0 for the most",
			sectionOfLimit(server, own), maxPacketSize/mebibyte)
	}
}

// sectionOfLimit returns the key of the section that has a limit: that of the server, where it has its own.
func sectionOfLimit(server string, own Size) string {
	if own == "" {
		return sectionName
	}
	return server
}

// Warnings returns what Load and Check have found that is no mistake, in full sentences with their keys.
func (c *Config) Warnings() []string { return c.warnings }

// Names returns the names of the servers, sorted.
func (c *Config) Names() []string { return SortedKeys(c.Servers) }

// MemoryLimitBytes returns memory_limit in bytes; 0 is no limit.
func (c *Config) MemoryLimitBytes() int64 { return sizeOr(defaultMemoryLimit, c.MemoryLimit) }

// HandshakeLimit returns max_handshakes; 0 is no limit.
func (c *Config) HandshakeLimit() int { return firstSet(runtime.GOMAXPROCS(0), c.MaxHandshakes) }

func dotInName(name string) string {
	return "a server's name can't hold a dot, which separates keys; write " + strings.ReplaceAll(name, ".", "_")
}
