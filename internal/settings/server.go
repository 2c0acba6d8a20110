package settings

import (
	"fmt"

	"github.com/rrtcp/tcp/internal/framing"
	"github.com/rrtcp/tcp/internal/wire"
)

// Server is one entry of tcp.servers.
type Server struct {
	// Addr to listen on: tcp://host:port, host:port, :port or unix:///path.
	Addr            string `mapstructure:"addr"`
	framing.Packets `mapstructure:",squash"`
	// Events that workers get: CONNECTED, DATA and CLOSE. All by default; DATA always.
	Events []string `mapstructure:"events"`
	// ConnectedOn is when CONNECTED is handed over: "accept" (the default), or "first_byte": a client that sends nothing costs no
	// exchange.
	ConnectedOn string `mapstructure:"connected_on"`
	// HalfClose is what becomes of a client that ends its side: "close" (the default) ends the connection behind what is owed,
	// "keep" leaves it open for pushes.
	HalfClose string `mapstructure:"half_close"`
	// ReadBufferSize overrides Config.ReadBufferSize for this server.
	ReadBufferSize int `mapstructure:"read_buf_size"`
	// MaxConnections bounds the open connections of this server; 0, the default, is no limit.
	MaxConnections int `mapstructure:"max_connections"`
	// AccessLog logs the end of each connection at the level info; else it is debug.
	AccessLog bool `mapstructure:"access_log"`
	Limits    `mapstructure:",squash"`
	// Goodbye are the last words to a client; nil: none.
	Goodbye *Goodbye `mapstructure:"goodbye"`
	// TLS encrypts the connections; nil: none.
	TLS *TLS `mapstructure:"tls"`
	// ProxyProtocol is for a server behind proxies that name their clients; nil: none.
	ProxyProtocol *ProxyProtocol `mapstructure:"proxy_protocol"`

	// Set by check.
	address        address
	readSize       int // bytes
	disabledEvents wire.DisabledEvents
	limits         limits
}

// Effective is what is in force for one server: its own keys, else those of all servers, else the defaults. A limit that is 0
// is off. Sizes are in bytes.
type Effective struct {
	Network, Address string // as package net has them
	ReadSize         int    // read_buf_size
	Disabled         wire.DisabledEvents
	Framing          framing.Framing

	ConnectedOnFirstByte bool // connected_on
	KeepHalfClosed       bool // half_close
	Goodbye              map[wire.Reason][]byte

	limits
}

// Effective returns what is in force. Check must have found no mistake.
func (s *Server) Effective() Effective {
	packets := &s.Packets
	return Effective{
		Network:  s.address.network,
		Address:  s.address.address,
		ReadSize: s.readSize,
		Disabled: s.disabledEvents,
		Framing:  packets.New(s.readSize, s.limits.MaxPacketSize),

		ConnectedOnFirstByte: s.ConnectedOn == "first_byte",
		KeepHalfClosed:       s.HalfClose == "keep",
		Goodbye:              s.Goodbye.bytes(),

		limits: s.limits,
	}
}

// check fills in the defaults, some of which are keys of c, and returns every mistake; key is the server's.
func (s *Server) check(key string, c *Config) (errs []error) {
	var err error
	if s.address, err = parseAddress(s.Addr); err != nil {
		errs = append(errs, fmt.Errorf("%s.addr: %w", key, err))
	}

	if s.ReadBufferSize == 0 {
		s.ReadBufferSize = c.ReadBufferSize // checked already
	} else {
		errs = append(errs, c.checkReadBufferSize(key+".read_buf_size", s.ReadBufferSize))
	}
	s.readSize = readSize(s.ReadBufferSize)

	errs = append(errs, checkNumber(key+".max_connections", s.MaxConnections))
	errs = append(errs, s.checkLimits(key)...)
	if s.disabledEvents, err = wire.ParseEvents(s.Events); err != nil {
		errs = append(errs, fmt.Errorf("%s.events: %w", key, err))
	}
	errs = append(errs, checkOneOf(key+".connected_on", &s.ConnectedOn, "accept", "first_byte"),
		checkOneOf(key+".half_close", &s.HalfClose, "close", "keep"))
	s.limits = s.resolve(&c.Limits)
	if s.IdleOn != "" && s.limits.IdleTimeout == 0 {
		errs = append(errs, fmt.Errorf("%s.idle_on: there is no idle_timeout that it could be about; leave it out, or set one", key))
	}
	packets := &s.Packets
	errs = append(errs, packets.Init(key, s.limits.MaxPacketSize)...)
	if f := s.Framing; (f == "raw" || f == "fixed") && s.OnTooLong != "" {
		errs = append(errs, fmt.Errorf("%s.on_too_long: no packet of framing %q is too long; leave it out", key, f))
	}
	s.warn(key, c)
	if s.Goodbye != nil {
		errs = append(errs, s.Goodbye.check(key+".goodbye")...)
	}
	if s.ProxyProtocol != nil {
		errs = append(errs, s.ProxyProtocol.check(key+".proxy_protocol", s.address.network)...)
	}
	if s.TLS != nil {
		errs = append(errs, s.TLS.check(key+".tls")...)
	}
	return errs
}

// checkOneOf fills in the default, which is the first of the two.
func checkOneOf(key string, value *string, first, second string) error {
	switch *value {
	case "":
		*value = first
	case first, second:
	default:
		return fmt.Errorf("%s: unknown value %q; want %q or %q", key, *value, first, second)
	}
	return nil
}

// warn adds warnings about values that are probably not what was meant.
func (s *Server) warn(key string, c *Config) {
	s.Texts(func(name, text string) { c.warnOfEscapes(key+"."+name, text) })
	if s.Goodbye != nil {
		for _, words := range s.Goodbye.all() {
			c.warnOfEscapes(key+".goodbye."+words.name, words.text)
		}
	}
	if s.TLS != nil {
		c.warnOfOldTLS(key+".tls", s.TLS)
	}
	if n := sizeOr(0, s.MaxPacketSize, c.MaxPacketSize); n > 0 { // else it is the default, and memory_limit the one that was chosen
		c.warnOfPacketSize(key, s.MaxPacketSize, n)
		c.warnOfSize(key, "max_packet_size", s.MaxPacketSize, s.limits.MaxPacketSize)
	}
	c.warnOfSize(key, "stream_buffer", s.StreamBuffer, s.limits.StreamBuffer)
}
