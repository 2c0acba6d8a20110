package tcp

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/pires/go-proxyproto"
)

// ProxyProtocol is the section proxy_protocol of a server: each connection begins with a header, version 1 or 2 of the
// PROXY protocol, that says who the client is.
type ProxyProtocol struct {
	// Trusted are the addresses of the proxies, as networks ("10.0.0.0/8") or alone. Connections from elsewhere are
	// closed. The clients of a unix socket are trusted.
	Trusted []string `mapstructure:"trusted"`
	// Timeout is how long the header may take; 5 s by default, 0 is no limit.
	Timeout *time.Duration `mapstructure:"timeout"`

	networks []netip.Prefix
}

const defaultProxyTimeout = 5 * time.Second

// init fills in the defaults and reports every mistake; key is the section's, network the server's.
func (p *ProxyProtocol) init(key, network string) (errs []error) {
	if p.Timeout == nil {
		p.Timeout = new(time.Duration)
		*p.Timeout = defaultProxyTimeout
	}
	errs = append(errs, notNegativeDuration(key+".timeout", *p.Timeout))
	if len(p.Trusted) == 0 && network != "unix" {
		errs = append(errs, fmt.Errorf(`%s.trusted: is empty; name the addresses of your proxies, such as "10.0.0.0/8"`, key))
	}

	p.networks = nil
	for _, text := range p.Trusted {
		network, err := parseNetwork(text)
		if err != nil {
			errs = append(errs, fmt.Errorf(`%s.trusted: %q is no address; want such as "10.0.0.0/8", "10.1.2.3" or "fd00::/8"`, key, text))
			continue
		}
		p.networks = append(p.networks, network)
	}
	return errs
}

func parseNetwork(text string) (netip.Prefix, error) {
	network, err := netip.ParsePrefix(text)
	if err != nil {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, err
		}
		network = netip.PrefixFrom(ip.WithZone(""), ip.BitLen())
	}
	if ip := network.Addr(); ip.Is4In6() && network.Bits() >= 96 {
		network = netip.PrefixFrom(ip.Unmap(), network.Bits()-96)
	}
	return network, nil
}

func (p *ProxyProtocol) trusts(from net.Addr) bool {
	a, ok := from.(*net.TCPAddr)
	if !ok {
		_, isUnix := from.(*net.UnixAddr)
		return isUnix
	}
	ip := a.AddrPort().Addr().Unmap().WithZone("")
	for _, network := range p.networks {
		if network.Contains(ip) {
			return true
		}
	}
	return false
}

var (
	errNoHeader   = errors.New("the connection does not begin with a PROXY header")
	errBadHeader  = errors.New("the PROXY header can't be used")
	signatures    = [][]byte{[]byte("PROXY "), proxyproto.SIGV2}
	errHeaderSize = fmt.Errorf("%w: version 1 has %d bytes at most", errBadHeader, longestV1)
)

// Bytes of headers.
const (
	shortestHeader = len("PROXY UNKNOWN\r\n")
	longestV1      = 107
	fixedV2        = 16 // its last two say how many follow
)

// readProxyHeader reads a header and not one byte more. It returns the client's address; nil where the connection is the
// proxy's own (a health check), or it does not say.
func readProxyHeader(from io.Reader) (net.Addr, error) {
	var header []byte
	for {
		size, err := headerSize(header)
		if err != nil {
			return nil, err
		}
		if len(header) == size {
			return parseProxyHeader(header)
		}
		const atOnce = 256 // memory for what arrived, not for what is promised
		held := len(header)
		header = append(header, make([]byte, min(size-held, atOnce))...)
		n, err := from.Read(header[held:])
		header = header[:held+n]
		if err != nil && n == 0 {
			return nil, fmt.Errorf("%w: %w", errNoHeader, err)
		}
	}
}

// headerSize is how many bytes a header has, or must have at least, that begins so.
func headerSize(begin []byte) (int, error) {
	isV1, isV2 := beginsAs(begin, signatures[0]), beginsAs(begin, signatures[1])
	n := len(begin)
	switch {
	case !isV1 && !isV2:
		return 0, errNoHeader
	case n < shortestHeader:
		return shortestHeader, nil
	case isV2 && n < fixedV2:
		return fixedV2, nil
	case isV2:
		return fixedV2 + int(binary.BigEndian.Uint16(begin[fixedV2-2:])), nil
	case begin[n-1] == '\n':
		return n, nil
	case n == longestV1:
		return 0, errHeaderSize
	default:
		return n + 1, nil
	}
}

func beginsAs(begin, signature []byte) bool {
	n := min(len(begin), len(signature))
	return bytes.Equal(begin[:n], signature[:n])
}

func parseProxyHeader(header []byte) (net.Addr, error) {
	if bytes.HasPrefix(header, proxyproto.SIGV2) && proxyproto.ProtocolVersionAndCommand(header[len(proxyproto.SIGV2)]).IsLocal() {
		return nil, nil // whatever else it says is to be ignored
	}
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(header), len(header)))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errBadHeader, err)
	case h.Command.IsLocal():
		return nil, nil
	}
	switch a := h.SourceAddr.(type) {
	case *net.TCPAddr, *net.UnixAddr:
		return a, nil
	}
	return nil, fmt.Errorf("%w: its client is of no stream", errBadHeader)
}
