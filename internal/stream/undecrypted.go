package stream

import "encoding/binary"

// undecrypted follows what has arrived of a TLS session and came to nothing yet: the beginning of a record, or records with a
// part of a handshake message. tls.Conn keeps them, in buffers of its own that grow to what the client sends, 256 KiB for a
// certificate. They count as the packet that the client has begun, and as memory of the connection. The connection's goroutine
// owns it.
type undecrypted struct {
	reader *Reader
	record recordScanner
	done   bool // the handshake
	kept   int  // bytes of the handshake: tls.Conn keeps its buffer
	bytes  int  // that came since something was decrypted last
	told   bool // the Reader has been told that something is unfinished
	taken  int  // from Memory
}

const (
	// smallBytes is how many bytes may come to nothing before they count as unfinished: a few messages that are whole, but
	// carry no data, such as a KeyUpdate.
	smallBytes = 256
	// Every TLS connection may hold so much without being counted: an ordinary handshake, and later the last record.
	freeHandshake, freeRecords = 8 << 10, 18 << 10
	// What a byte of an unfinished message costs: a buffer that doubles its size, and on the heap as much again until the next
	// garbage collection. In the handshake messages are whole sometimes: then there is a copy, and what is parsed from it.
	recordsOverhead   = 4
	handshakeOverhead = 2 * recordsOverhead
)

// errChanged makes tls.Conn return, unharmed, so that the Reader looks at isUnfinished again: the wait has another limit.
var errChanged error = changedError{}

type changedError struct{}

func (changedError) Error() string   { return "TLS has begun, or ended, a record" }
func (changedError) Timeout() bool   { return true }
func (changedError) Temporary() bool { return true }

// arrived notes what has come.
func (u *undecrypted) arrived(p []byte) {
	u.record.scan(p)
	u.bytes += len(p)
}

// decrypted notes that what has come was data.
func (u *undecrypted) decrypted() {
	u.bytes, u.told = 0, false
	_ = u.account() // where it is more, the next read finds out
}

// handshaken notes the end of the handshake.
func (u *undecrypted) handshaken() {
	u.kept, u.done = u.bytes, true
	u.decrypted()
}

// isUnfinished reports whether the client has begun something after the handshake that is not data yet.
func (u *undecrypted) isUnfinished() bool {
	return u.done && (u.record.isInside() || u.bytes >= smallBytes)
}

// hasChanged reports, once, that isUnfinished is another than what the Reader knows. It need not know where its packet has
// begun already.
func (u *undecrypted) hasChanged() bool {
	if u.reader.Unfinished() > 0 {
		return false
	}
	changed := u.isUnfinished() != u.told
	u.told = u.isUnfinished()
	return changed
}

// account takes from Memory what TLS holds when it wants to read on: the records that were whole have come to nothing. The
// error is ErrMemory.
func (u *undecrypted) account() error {
	cost := recordsOverhead * (max(0, u.bytes-freeRecords) + max(0, u.kept-freeRecords))
	if !u.done {
		cost = handshakeOverhead * max(0, u.bytes-freeHandshake)
	}
	r := u.reader
	if more := cost - u.taken; more > 0 && !r.Memory.Take(more, r.Held()+r.Extra()+u.taken) {
		return ErrMemory
	} else if more < 0 {
		r.Memory.Give(-more)
	}
	u.taken = cost
	return nil
}

func (u *undecrypted) release() {
	u.reader.Memory.Give(u.taken)
	u.taken = 0
}

// recordScanner finds where TLS records begin and end.
type recordScanner struct {
	header [recordHeader]byte
	have   int // bytes of header
	left   int // bytes that are missing behind the header
}

const recordHeader = 5 // the last two bytes say how many follow

func (s *recordScanner) isInside() bool { return s.have > 0 }

func (s *recordScanner) scan(p []byte) {
	for len(p) > 0 {
		if s.have < recordHeader {
			n := copy(s.header[s.have:], p)
			s.have, p = s.have+n, p[n:]
			s.left = int(binary.BigEndian.Uint16(s.header[recordHeader-2:]))
		}
		if s.have == recordHeader {
			n := min(s.left, len(p))
			s.left, p = s.left-n, p[n:]
			if s.left == 0 {
				s.have = 0
			}
		}
	}
}
