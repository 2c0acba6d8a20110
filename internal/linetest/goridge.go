package linetest

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
)

// A frame of goridge is a header of 12 bytes, options of 4 bytes each, and the payload; numbers are little endian. The worker
// reads and writes them itself: each line has a goridge of its own, and its tests hold no other.
const (
	headerSize = 12
	version1   = 0x10

	flagControl = 0x01
	flagJSON    = 0x08
	flagError   = 0x40

	streamMore = 0x01 // more frames of the same answer follow
	streamStop = 0x02 // the answer is to end
)

type frame struct {
	flags, stream byte
	context, body string
}

// receiveFrame reads the next frame from the pool. The only option is the length of the context.
func receiveFrame(from io.Reader) (f frame, err error) {
	header := make([]byte, headerSize)
	if _, err := io.ReadFull(from, header); err != nil {
		return frame{}, err
	}
	options := 4 * (int(header[0]&0x0f) - headerSize/4)
	rest := make([]byte, options+int(binary.LittleEndian.Uint32(header[2:])))
	if _, err := io.ReadFull(from, rest); err != nil {
		return frame{}, err
	}
	split := options
	if options > 0 {
		split += int(binary.LittleEndian.Uint32(rest))
	}
	return frame{header[1], header[10], string(rest[options:split]), string(rest[split:])}, nil
}

// send writes a frame to the pool, or ends the worker.
func send(flags, stream byte, context, body string) {
	b := make([]byte, headerSize, headerSize+4+len(context)+len(body))
	b[0], b[1], b[10] = version1|headerSize/4, flags, stream
	if flags&(flagControl|flagError) == 0 {
		b[0]++
		b = binary.LittleEndian.AppendUint32(b, uint32(len(context)))
	}
	binary.LittleEndian.PutUint32(b[2:], uint32(len(context)+len(body)))
	binary.LittleEndian.PutUint32(b[6:], crc32.ChecksumIEEE(b[:6]))
	if _, err := os.Stdout.Write(append(append(b, context...), body...)); err != nil {
		os.Exit(1)
	}
}
