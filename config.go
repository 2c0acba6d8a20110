package tcp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/roadrunner-server/sdk/v4/pool"
)

// Config is the section tcp of the configuration. Its zero values are the documented defaults.
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
	Limits         `mapstructure:",squash"`
	// Pool configures the workers, which all servers share.
	Pool *pool.Config `mapstructure:"pool"`

	warnings []string
}

// Server is one entry of tcp.servers.
type Server struct {
	// Addr to listen on: tcp://host:port, host:port, :port or unix:///path.
	Addr    string `mapstructure:"addr"`
	Packets `mapstructure:",squash"`
	// Events that workers get: CONNECTED, DATA and CLOSE. All by default; DATA always.
	Events []string `mapstructure:"events"`
	// ReadBufferSize overrides Config.ReadBufferSize for this server.
	ReadBufferSize int `mapstructure:"read_buf_size"`
	// MaxConnections bounds the open connections of this server; 0, the default, is no limit.
	MaxConnections int `mapstructure:"max_connections"`
	// AccessLog logs the end of each connection at the level info; else it is debug.
	AccessLog bool `mapstructure:"access_log"`
	Limits    `mapstructure:",squash"`
	// TLS encrypts the connections; nil: none.
	TLS *TLS `mapstructure:"tls"`
	// ProxyProtocol is for a server behind proxies that name their clients; nil: none.
	ProxyProtocol *ProxyProtocol `mapstructure:"proxy_protocol"`

	address   address
	readBytes int
	limits    limits
	omits     omitted
}

const (
	mebibyte         = 1 << 20
	mostMegabytes    = 1024 // a larger read_buf_size is in bytes
	defaultDelimiter = "\r\n"
	// defaultExecTTL bounds what can't be interrupted otherwise: only a supervised pool heeds a context.
	defaultExecTTL = time.Hour
)

// InitDefault fills in the defaults and checks everything. The error names every mistake by its key.
func (c *Config) InitDefault() error { return errors.Join(c.initDefault()...) }

// initDefault is InitDefault; each error begins with the key that it is about.
func (c *Config) initDefault() []error {
	errs := c.initGlobals()
	if len(c.Servers) == 0 {
		errs = append(errs, errors.New("tcp.servers: is empty; name at least one server with an addr"))
	}

	var taken []string
	for _, name := range c.names() {
		key := "tcp.servers." + name
		if strings.Contains(name, ".") {
			errs = append(errs, fmt.Errorf("%s: %s", key, dotted(name)))
			continue
		}
		server := c.Servers[name]
		if server == nil {
			server = new(Server)
			c.Servers[name] = server
		}
		errs = append(errs, c.initServer(key, server)...)
		for _, other := range taken {
			if server.address.collides(c.Servers[other].address) {
				errs = append(errs, fmt.Errorf("%s.addr: %q is taken by tcp.servers.%s; give each server its own address",
					key, server.Addr, other))
				break
			}
		}
		taken = append(taken, name)
	}
	return slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}

func (c *Config) initGlobals() (errs []error) {
	switch c.Dialect {
	case "":
		c.Dialect = dialectReleased
	case dialectReleased, dialectDocumented:
	default:
		errs = append(errs, fmt.Errorf("tcp.dialect: unknown dialect %q; want %q or %q",
			c.Dialect, dialectReleased, dialectDocumented))
	}

	errs = append(errs, notNegative("tcp.max_connections", c.MaxConnections))
	if _, err := c.MemoryLimit.bytes(); c.MemoryLimit != "" && err != nil {
		errs = append(errs, fmt.Errorf("tcp.memory_limit: %w", err))
	}
	errs = append(errs, c.check("tcp")...)

	if c.ReadBufferSize == 0 {
		c.ReadBufferSize = 1
	}
	if _, err := c.readBytes("tcp.read_buf_size", c.ReadBufferSize); err != nil {
		errs = append(errs, err)
	}

	if c.Pool == nil {
		c.Pool = &pool.Config{}
	}
	c.Pool.InitDefaults()
	if c.Pool.Supervisor == nil {
		c.Pool.Supervisor = &pool.SupervisorConfig{}
		c.Pool.Supervisor.InitDefaults()
	}
	if c.Pool.Supervisor.ExecTTL == 0 {
		c.Pool.Supervisor.ExecTTL = defaultExecTTL
	}
	return append(errs, c.negativePool()...)
}

// negativePool finds the durations of the pool that are below zero: it would take them for already over.
func (c *Config) negativePool() (errs []error) {
	for key, d := range map[string]time.Duration{
		"allocate_timeout":      c.Pool.AllocateTimeout,
		"destroy_timeout":       c.Pool.DestroyTimeout,
		"reset_timeout":         c.Pool.ResetTimeout,
		"stream_timeout":        c.Pool.StreamTimeout,
		"supervisor.watch_tick": c.Pool.Supervisor.WatchTick,
		"supervisor.ttl":        c.Pool.Supervisor.TTL,
		"supervisor.idle_ttl":   c.Pool.Supervisor.IdleTTL,
		"supervisor.exec_ttl":   c.Pool.Supervisor.ExecTTL,
	} {
		if d < 0 {
			errs = append(errs, fmt.Errorf("tcp.pool.%s: %s is negative; want a duration such as \"60s\"", key, d))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errs
}

func (c *Config) initServer(key string, s *Server) (errs []error) {
	var err error
	if s.address, err = parseAddr(s.Addr); err != nil {
		errs = append(errs, fmt.Errorf("%s.addr: %w", key, err))
	}

	if s.ReadBufferSize == 0 {
		s.ReadBufferSize = c.ReadBufferSize
		s.readBytes, _ = readSize(s.ReadBufferSize) // an error is the global key's
	} else if s.readBytes, err = c.readBytes(key+".read_buf_size", s.ReadBufferSize); err != nil {
		errs = append(errs, err)
	}

	errs = append(errs, notNegative(key+".max_connections", s.MaxConnections))
	errs = append(errs, s.check(key)...)
	if s.omits, err = omits(s.Events); err != nil {
		errs = append(errs, fmt.Errorf("%s.events: %w", key, err))
	}
	s.limits = s.over(&c.Limits)
	errs = append(errs, s.init(key, s.limits.packet)...)
	c.warnOfEscapes(key+".delimiter", s.Delimiter)
	for _, d := range s.Delimiters {
		c.warnOfEscapes(key+".delimiters", d)
	}
	c.warnOfPacketSize(key+".max_packet_size", s.limits.packet)
	if s.ProxyProtocol != nil {
		errs = append(errs, s.ProxyProtocol.init(key+".proxy_protocol", s.address.network)...)
	}
	if s.TLS != nil {
		errs = append(errs, s.TLS.init(key+".tls")...)
	}
	return errs
}

func (c *Config) warnOfPacketSize(key string, size int) {
	if half := sizeOr(defaultMemoryLimit, c.MemoryLimit) / 2; half > 0 && int64(size) > half {
		c.warnings = append(c.warnings, fmt.Sprintf(
			"%s: %s can't be reached: one connection gets half of memory_limit at most; make tcp.memory_limit %s or more",
			key, units.BytesSize(float64(size)), units.BytesSize(float64(2*size))))
	}
}

func (c *Config) warnOfEscapes(key, delimiter string) {
	if meant := unescape.Replace(delimiter); meant != delimiter {
		c.warnings = append(c.warnings, fmt.Sprintf(
			"%s: is the %d characters %s, a backslash among them; YAML reads escapes in double quotes only: "+
				"if %q was meant, write %q", key, len(delimiter), delimiter, meant, meant))
	}
}

// unescape turns the escapes that single quotes keep into what double quotes would have made of them.
var unescape = strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\t`, "\t", `\0`, "\x00")

// readBytes is a read_buf_size in bytes. Configurations of the first releases hold bytes, not MB.
func (c *Config) readBytes(key string, size int) (int, error) {
	n, inBytes := readSize(size)
	if size < 0 {
		return 0, fmt.Errorf("%s: %d is negative; want a number of MB, such as 1", key, size)
	}
	if inBytes {
		c.warnings = append(c.warnings, fmt.Sprintf("%s: %d is over %d and taken as bytes; the unit is MB: write %d",
			key, size, mostMegabytes, max(1, (size+mebibyte/2)/mebibyte)))
	}
	return n, nil
}

func readSize(size int) (bytes int, inBytes bool) {
	if size > mostMegabytes {
		return size, true
	}
	return size * mebibyte, false
}

func (c *Config) names() []string {
	names := make([]string, 0, len(c.Servers))
	for name := range c.Servers {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func dotted(name string) string {
	return "a server's name can't hold a dot, which separates keys; write " + strings.ReplaceAll(name, ".", "_")
}

// address is where a server listens, as the package net has it.
type address struct{ network, address string }

// collides reports whether two servers can't listen on both: on one port, two of the same address, or one of all.
func (a address) collides(b address) bool {
	if a.network == "unix" || b.network == "unix" {
		return a.network == b.network && filepath.Clean(a.address) == filepath.Clean(b.address)
	}
	hostA, portA, _ := net.SplitHostPort(a.address)
	hostB, portB, _ := net.SplitHostPort(b.address)
	if portA != portB || portA == "0" || a == (address{}) || b == (address{}) {
		return false
	}
	ipA, ipB := ipOf(hostA), ipOf(hostB)
	if !ipA.IsValid() || !ipB.IsValid() {
		return strings.EqualFold(hostA, hostB)
	}
	return ipA == ipB || ipA.IsUnspecified() && (ipA.Is6() || ipB.Is4() || ipB.IsUnspecified()) ||
		ipB.IsUnspecified() && (ipB.Is6() || ipA.Is4())
}

// ipOf is the address that a host stands for, as far as that is known before it is asked for.
func ipOf(host string) netip.Addr {
	switch {
	case host == "":
		return netip.IPv6Unspecified()
	case strings.EqualFold(host, "localhost"):
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	ip, _ := netip.ParseAddr(host)
	return ip.Unmap()
}

// parseAddr understands tcp://host:port, host:port, :port and unix:///path.
func parseAddr(addr string) (address, error) {
	const want = `want "tcp://host:port", "host:port", ":port" or "unix:///path.sock"`
	scheme, rest, ok := strings.Cut(addr, "://")
	scheme = strings.ToLower(scheme)
	switch {
	case strings.TrimSpace(addr) == "":
		return address{}, errors.New("is empty; " + want)
	case !ok && (strings.HasPrefix(scheme, "unix:") || strings.HasPrefix(addr, "/")):
		return address{}, fmt.Errorf("%q is a path without its scheme; %s", addr, want)
	case !ok:
		scheme, rest = "tcp", addr
	}

	switch {
	case scheme == "unix" && rest == "":
		return address{}, fmt.Errorf("%q has no path; %s", addr, want)
	case scheme == "unix":
		return address{"unix", rest}, nil
	case scheme != "tcp":
		return address{}, fmt.Errorf("%q has the unknown scheme %q; %s", addr, scheme, want)
	}

	host, port, err := net.SplitHostPort(rest)
	if err != nil {
		var wrong *net.AddrError
		if errors.As(err, &wrong) {
			err = errors.New(wrong.Err)
		}
		return address{}, fmt.Errorf("%q: %w; %s", addr, err, want)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return address{}, fmt.Errorf("%q has the port %q; want a number from 0 to 65535", addr, port)
	}
	network := "tcp"
	if net.ParseIP(host).To4() != nil {
		network = "tcp4" // tcp would take 0.0.0.0 for all addresses of both families
	}
	return address{network, net.JoinHostPort(host, strconv.FormatUint(n, 10))}, nil
}
