// Package proxyheader reads what a proxy writes in front of a connection: a header of version 1 or 2 of the PROXY protocol. It knows
// no sockets and no configuration.
package proxyheader

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/pires/go-proxyproto"
)

// Read's errors wrap one of these.
var (
	ErrNone = errors.New("the connection does not begin with a PROXY header")
	ErrBad  = errors.New("the PROXY header can't be used")

	errHeaderSize = fmt.Errorf("%w: version 1 has %d bytes at most", ErrBad, maxHeaderV1)
	errChecksum   = fmt.Errorf("%w: its CRC32c is wrong", ErrBad)
)

// Sizes of headers in bytes, as https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt has them.
const (
	minHeader   = len("PROXY UNKNOWN\r\n")
	maxHeaderV1 = 107
	minHeaderV2 = 16 // the last two say how many follow
)

var signatureV1, signatureV2 = []byte("PROXY "), proxyproto.SIGV2

// Header is what a header says.
type Header struct {
	Client net.Addr // nil: the connection is the proxy's own (a health check), or the proxy does not know
	Info   *Info
}

// Read reads a header of version 1 or 2 of the PROXY protocol, and no byte more.
func Read(from io.Reader) (Header, error) {
	var header []byte
	for {
		size, err := headerSize(header)
		if err != nil {
			return Header{}, err
		}
		if len(header) == size {
			return parse(header)
		}
		const maxRead = 256 // memory for bytes that arrived, not for what is announced
		held := len(header)
		header = append(header, make([]byte, min(size-held, maxRead))...)
		n, err := from.Read(header[held:])
		header = header[:held+n]
		if err != nil && n == 0 {
			return Header{}, fmt.Errorf("%w: %w", ErrNone, err)
		}
	}
}

// headerSize returns the size of a header that begins so, or the least size that it can have.
func headerSize(begin []byte) (int, error) {
	isV1, isV2 := isPrefixOf(begin, signatureV1), isPrefixOf(begin, signatureV2)
	n := len(begin)
	switch {
	case !isV1 && !isV2:
		return 0, ErrNone
	case n < minHeader:
		return minHeader, nil
	case isV2 && n < minHeaderV2:
		return minHeaderV2, nil
	case isV2:
		return minHeaderV2 + int(binary.BigEndian.Uint16(begin[minHeaderV2-2:])), nil
	case begin[n-1] == '\n':
		return n, nil
	case n == maxHeaderV1:
		return 0, errHeaderSize
	default:
		return n + 1, nil
	}
}

// isPrefixOf reports whether one of begin and signature begins with the other.
func isPrefixOf(begin, signature []byte) bool {
	n := min(len(begin), len(signature))
	return bytes.Equal(begin[:n], signature[:n])
}

func parse(header []byte) (Header, error) {
	if !bytes.HasPrefix(header, signatureV2) {
		return parseV1(string(header))
	}
	command, family := header[len(signatureV2)], header[len(signatureV2)+1]
	if proxyproto.ProtocolVersionAndCommand(command).IsLocal() || command == commandProxyV2 && family == familyUnspec {
		return Header{}, nil // the rest must be ignored
	}
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(header), len(header)))
	if err != nil {
		return Header{}, fmt.Errorf("%w: %w", ErrBad, err)
	}
	fields, isWhole := fieldsFrom(header, minHeaderV2+addressesSize[family])
	if !isChecksumRight(header, fields) {
		return Header{}, errChecksum
	}
	switch a := h.SourceAddr.(type) {
	case *net.TCPAddr, *net.UnixAddr:
		info := &Info{Destination: h.DestinationAddr.String()}
		if isWhole {
			info.add(fields)
		}
		return Header{a, info}, nil
	}
	return Header{}, fmt.Errorf("%w: its client is of no stream", ErrBad)
}

// Bytes of a header of version 2.
const (
	commandProxyV2 = 0x21
	familyUnspec   = 0x00
)

// addressesSize is how many bytes the addresses of a family take, of those that are of a stream.
var addressesSize = map[byte]int{0x11: 12, 0x21: 36, 0x31: 216}

// parseV1 reads "PROXY TCP6 2001:db8::1 127.0.0.1 1234 8083\r\n". The family is that of the client: nginx behind another
// proxy names its own address of another one.
func parseV1(header string) (Header, error) {
	line, ok := strings.CutSuffix(header, "\r\n")
	field := strings.Split(line, " ")
	switch {
	case ok && field[1] == "UNKNOWN":
		return Header{}, nil // the rest must be ignored
	case !ok || len(field) != 6:
		return Header{}, fmt.Errorf("%w: want PROXY, TCP4 or TCP6, two addresses, two ports and CRLF", ErrBad)
	}
	client, clientErr := parseAddrPort(field[2], field[4])
	destination, proxyErr := parseAddrPort(field[3], field[5])
	switch {
	case clientErr != nil || proxyErr != nil:
		return Header{}, fmt.Errorf("%w: %w", ErrBad, errors.Join(clientErr, proxyErr))
	case field[1] != "TCP4" && field[1] != "TCP6", (field[1] == "TCP4") != client.Addr().Is4():
		return Header{}, fmt.Errorf("%w: its client's address is of another family", ErrBad)
	}
	return Header{net.TCPAddrFromAddrPort(client), &Info{Destination: destination.String()}}, nil
}

func parseAddrPort(address, port string) (netip.AddrPort, error) {
	ip, err := netip.ParseAddr(address)
	if err != nil || ip.Zone() != "" {
		return netip.AddrPort{}, errors.New("an address is none")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, errors.New("a port is none")
	}
	return netip.AddrPortFrom(ip, uint16(n)), nil
}
