package server

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/pires/go-proxyproto"
)

var (
	errNoHeader   = errors.New("the connection does not begin with a PROXY header")
	errBadHeader  = errors.New("the PROXY header can't be used")
	errHeaderSize = fmt.Errorf("%w: version 1 has %d bytes at most", errBadHeader, maxHeaderV1)
)

// Sizes of headers in bytes, as https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt has them.
const (
	minHeader   = len("PROXY UNKNOWN\r\n")
	maxHeaderV1 = 107
	minHeaderV2 = 16 // the last two say how many follow
)

var signatureV1, signatureV2 = []byte("PROXY "), proxyproto.SIGV2

// readProxyHeader reads a header of version 1 or 2 of the PROXY protocol, and no byte more. It returns the client's address;
// nil where the connection is the proxy's own (a health check), or the proxy does not know.
func readProxyHeader(from io.Reader) (net.Addr, error) {
	var header []byte
	for {
		size, err := proxyHeaderSize(header)
		if err != nil {
			return nil, err
		}
		if len(header) == size {
			return parseProxyHeader(header)
		}
		const maxRead = 256 // memory for bytes that arrived, not for what is announced
		held := len(header)
		header = append(header, make([]byte, min(size-held, maxRead))...)
		n, err := from.Read(header[held:])
		header = header[:held+n]
		if err != nil && n == 0 {
			return nil, fmt.Errorf("%w: %w", errNoHeader, err)
		}
	}
}

// proxyHeaderSize returns the size of a header that begins so, or the least size that it can have.
func proxyHeaderSize(begin []byte) (int, error) {
	isV1, isV2 := isPrefixOf(begin, signatureV1), isPrefixOf(begin, signatureV2)
	n := len(begin)
	switch {
	case !isV1 && !isV2:
		return 0, errNoHeader
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

func parseProxyHeader(header []byte) (net.Addr, error) {
	isV2 := bytes.HasPrefix(header, signatureV2)
	if isV2 && proxyproto.ProtocolVersionAndCommand(header[len(signatureV2)]).IsLocal() {
		return nil, nil // the rest must be ignored
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
