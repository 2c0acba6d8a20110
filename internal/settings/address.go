package settings

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// address is where a server listens, as package net has it.
type address struct{ network, address string }

// collides reports whether two servers can't listen on a and b: they are the same, or one is all addresses of the same port.
func (a address) collides(b address) bool {
	if a.network == "unix" || b.network == "unix" {
		return a.network == b.network && filepath.Clean(a.address) == filepath.Clean(b.address)
	}
	hostA, portA, _ := net.SplitHostPort(a.address)
	hostB, portB, _ := net.SplitHostPort(b.address)
	if portA != portB || portA == "0" || a == (address{}) { // neither could be read
		return false
	}
	ipA, ipB := resolveHost(hostA), resolveHost(hostB)
	if !ipA.IsValid() || !ipB.IsValid() {
		return strings.EqualFold(hostA, hostB)
	}
	return ipA == ipB || covers(ipA, ipB) || covers(ipB, ipA)
}

// covers reports whether a is unspecified and listening on it includes b. Only [::] includes both families.
func covers(a, b netip.Addr) bool {
	return a.IsUnspecified() && (a.Is6() || b.Is4())
}

// resolveHost returns the address of a host where that is known without asking a resolver, else the zero Addr.
func resolveHost(host string) netip.Addr {
	switch {
	case host == "":
		return netip.IPv6Unspecified()
	case strings.EqualFold(host, "localhost"):
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	ip, _ := netip.ParseAddr(host)
	return ip.Unmap()
}

// maxUnixPath is how many bytes the system has for the path of a unix socket and the zero behind it.
const maxUnixPath = len(syscall.RawSockaddrUnix{}.Path)

const wantAddress = `want "tcp://host:port", "host:port", ":port" or "unix:///path.sock"`

// parseAddress reads tcp://host:port, host:port, :port and unix:///path.
func parseAddress(addr string) (address, error) {
	scheme, rest, ok := strings.Cut(addr, "://")
	scheme = strings.ToLower(scheme)
	switch {
	case strings.TrimSpace(addr) == "":
		return address{}, errors.New("is empty; " + wantAddress)
	case !ok && (strings.HasPrefix(scheme, "unix:") || strings.HasPrefix(addr, "/")):
		return address{}, fmt.Errorf("%q is a path without its scheme; %s", addr, wantAddress)
	case !ok:
		scheme, rest = "tcp", addr
	}

	switch {
	case scheme == "unix" && rest == "":
		return address{}, fmt.Errorf("%q has no path; %s", addr, wantAddress)
	case scheme == "unix" && len(rest) >= maxUnixPath:
		return address{"unix", rest}, fmt.Errorf("%q has a path of %d bytes; the system takes fewer than %d", addr, len(rest), maxUnixPath)
	case scheme == "unix":
		return address{"unix", rest}, nil
	case scheme != "tcp":
		return address{}, fmt.Errorf("%q has the unknown scheme %q; %s", addr, scheme, wantAddress)
	}
	return parseHostPort(addr, rest)
}

// parseHostPort reads the part of addr behind the scheme.
func parseHostPort(addr, hostPort string) (address, error) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		var wrong *net.AddrError
		if errors.As(err, &wrong) {
			err = errors.New(wrong.Err)
		}
		return address{}, fmt.Errorf("%q: %w; %s", addr, err, wantAddress)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return address{}, fmt.Errorf("%q has the port %q; want a number from 0 to 65535", addr, port)
	}
	network := "tcp"
	if net.ParseIP(host).To4() != nil {
		network = "tcp4" // package net takes 0.0.0.0 in the network tcp for all addresses of both families
	}
	return address{network, net.JoinHostPort(host, strconv.FormatUint(n, 10))}, nil
}
