// Package framing cuts a byte stream into packets: pure bufio.SplitFunc functions and the settings that choose one. It does
// no I/O and must know nothing of sockets, buffers, events or the pool; internal/stream applies what it returns.
package framing

import (
	"bufio"
	"errors"
	"math"
	"time"
)

// Framing is a rule that cuts a byte stream into packets.
type Framing struct {
	// Split is pure: its result depends on its arguments alone. A packet is a prefix of data from which leading or trailing
	// bytes may be stripped; it may be empty, but is nil only where more data is needed. A packet that the end of file ends
	// comes with bufio.ErrFinalToken.
	Split bufio.SplitFunc
	// Overlap is how many of the last bytes in which Split found no end must be passed to it again together with the bytes
	// that follow, so that a large packet is scanned once. With Everything, Split always gets a packet from its first byte.
	Overlap int
	// Batch is the maximum size in bytes of complete packets that are handed over together; 0: one packet at a time.
	Batch int
	// Wait is how long a delimiter that may still grow waits for more bytes, at the end of what has arrived. Then Split with
	// atEOF set decides: a packet that comes without bufio.ErrFinalToken ends there. 0: nothing waits.
	Wait time.Duration
	// IsEmpty reports that the packet of n bytes which data begins with is empty and is not to be handed over. nil: every packet is.
	IsEmpty func(data []byte, n int) bool
	// Narrow returns the framing that cuts the packet which data begins with, where Split has several to choose from; it needs
	// less of a packet that was seen already. nil: that is not known yet, or there is one framing alone.
	Narrow func(data []byte) *Framing
	// Head is how many leading bytes of a packet Split strips.
	Head int
	// Size returns the size in bytes that the packet which data begins with announces; 0: none, or not yet. nil: none ever.
	Size func(data []byte) int64
	// Finished returns how many bytes of data, which begins at a packet, are complete packets: the sum of what Split would
	// find one by one. nil: call Split.
	Finished func(data []byte) int
}

// Everything is the Overlap of a Framing whose Split needs a packet from its first byte.
const Everything = math.MaxInt

// TooLong is what becomes of a packet that exceeds max_packet_size.
type TooLong uint8

// It ends the connection; it is dropped up to its end; or its first bytes are handed over, and the rest is dropped.
const (
	TooLongCloses TooLong = iota
	TooLongDiscards
	TooLongTruncates
)

var (
	// ErrLength is Split's error for a length field whose value is malformed or out of range.
	ErrLength = errors.New("the packet announces a length that can't be")
	// ErrNoRule is Split's error for a packet whose first bytes fit no rule.
	ErrNoRule = errors.New("the packet begins as none of the rules says")
	// ErrTooLong is the error for a packet that exceeds max_packet_size.
	ErrTooLong = errors.New("the packet is longer than max_packet_size")
)

// newFixed returns the framing of packets that all have size bytes.
func newFixed(size int) Framing {
	return Framing{Overlap: Everything, Split: func(data []byte, _ bool) (int, []byte, error) {
		if len(data) < size {
			return 0, nil, nil
		}
		return size, data[:size], nil
	}}
}

// newRaw returns the framing whose packets are whatever has arrived, at most maxSize bytes.
func newRaw(maxSize int) Framing {
	return Framing{Overlap: Everything, Batch: maxSize, Split: func(data []byte, _ bool) (int, []byte, error) {
		n := min(len(data), maxSize)
		return n, data[:n], nil
	}}
}
