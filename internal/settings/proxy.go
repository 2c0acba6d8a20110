package settings

import (
	"fmt"
	"net"
	"net/netip"
	"time"
)

// ProxyProtocol is the section proxy_protocol of a server: each connection begins with a header, version 1 or 2 of the
// PROXY protocol, that has the client's address.
type ProxyProtocol struct {
	// Trusted are the addresses of the proxies, as networks ("10.0.0.0/8") or alone. The clients of a unix socket are trusted.
	Trusted []string `mapstructure:"trusted"`
	// Untrusted is what becomes of connections from elsewhere: "refuse" (the default), or "direct": they are served under their
	// own address, and have no header.
	Untrusted string `mapstructure:"untrusted"`
	// Timeout is how long the header may take; 5 s by default, 0 is no limit.
	Timeout *time.Duration `mapstructure:"timeout"`

	networks []netip.Prefix // Trusted, parsed by check
}

const defaultProxyTimeout = 5 * time.Second

// check fills in the defaults and returns every mistake; key is the section's, network the server's.
func (p *ProxyProtocol) check(key, network string) (errs []error) {
	setDefault(&p.Timeout, defaultProxyTimeout)
	errs = append(errs, checkDuration(key+".timeout", *p.Timeout), checkOneOf(key+".untrusted", &p.Untrusted, "refuse", "direct"))
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

// parseNetwork makes an IPv4 network of one that is mapped to IPv6, since Trusts compares unmapped addresses.
func parseNetwork(text string) (netip.Prefix, error) {
	network, err := netip.ParsePrefix(text)
	if err != nil {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, err
		}
		network = netip.PrefixFrom(ip, ip.BitLen())
	}
	if ip := network.Addr(); ip.Is4In6() && network.Bits() >= 96 {
		network = netip.PrefixFrom(ip.Unmap(), network.Bits()-96)
	}
	return network, nil
}

// ServesOthers reports whether connections that Trusts does not know are served, without a header.
func (p *ProxyProtocol) ServesOthers() bool { return p.Untrusted == "direct" }

// Trusts reports whether a connection from that address may begin with a header.
func (p *ProxyProtocol) Trusts(from net.Addr) bool {
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
