package stream

// The part of Reader that owns the buffer: its size follows what has arrived, and is accounted in Memory.

// Held returns the size of the buffer in bytes.
func (r *Reader) Held() int {
	if r.buffer == nil {
		return 0
	}
	return len(r.buffer.Bytes)
}

// Release gives an empty buffer back, and ends the loan of the last packet; a buffer that holds bytes stays.
func (r *Reader) Release() {
	if r.start == r.end && r.buffer != nil {
		r.Memory.Give(r.Held())
		r.buffer.Free()
		r.buffer, r.start, r.end, r.seen = nil, 0, 0, 0
	}
}

// Discard drops what is not handed over and gives the buffer back.
func (r *Reader) Discard() {
	r.start = r.end
	r.Release()
}

// isLarge reports whether the packet that is being read is large enough for the ReadLimiter.
func (r *Reader) isLarge() bool { return r.Unfinished() >= firstSize }

// space returns where the next bytes go: at least one, at most ReadSize, or ErrMemory. Bytes that wait to be handed over
// stay, but may move.
func (r *Reader) space() ([]byte, error) {
	switch {
	case r.buffer == nil:
		if least := r.Socket.firstSize(); !r.grow(r.expectedSize(least)) && !r.grow(least) {
			return nil, ErrMemory
		}
	case r.end == len(r.buffer.Bytes):
		if !r.makeSpace() {
			return nil, ErrMemory
		}
	}
	return r.buffer.Bytes[r.end:min(len(r.buffer.Bytes), r.end+r.ReadSize)], nil
}

// makeSpace moves what is left to the beginning of the buffer, or to a larger one where more than half is taken.
func (r *Reader) makeSpace() bool {
	if r.Unfinished() > len(r.buffer.Bytes)/2 {
		return r.grow(r.largerSize())
	}
	r.end = copy(r.buffer.Bytes, r.buffer.Bytes[r.start:r.end])
	r.start = 0
	return true
}

// expectedSize is the size of the first buffer for a packet as large as the last one; least where the connection waits with
// it.
func (r *Reader) expectedSize(least int) int {
	size, expected := least, r.lastSize
	if r.rule().Batch > 0 {
		expected++ // a read that does not fill the buffer has found all there is
	}
	for least >= firstSize && size < expected && size < maxFirstSize {
		size *= 2
	}
	if r.MaxPacketSize > 0 {
		size = min(size, max(least, max(r.MaxPacketSize, r.rule().Batch)+1))
	}
	return size
}

// largerSize is the size of the next buffer: twice this one's, but no more than shows that a packet is too long.
func (r *Reader) largerSize() int {
	size := 2 * len(r.buffer.Bytes)
	if r.MaxPacketSize == 0 {
		return size
	}
	if maxSize := max(r.MaxPacketSize, r.rule().Batch) + 1; size >= maxSize-1 && maxSize > len(r.buffer.Bytes) {
		return maxSize
	}
	return size
}

// grow moves what has arrived to a buffer of size bytes; false: memory is used up.
func (r *Reader) grow(size int) bool {
	held := r.Held()
	if !r.Memory.Take(size-held, r.extra+held) {
		return false
	}
	r.move(size)
	return true
}

// shrink gives back what a connection need not hold while it waits: all of an empty buffer, and what is more than twice of
// what has arrived.
func (r *Reader) shrink() {
	r.Release()
	size := firstSize
	for size < 2*r.Unfinished() {
		size *= 2
	}
	if held := r.Held(); size < held {
		r.Memory.Give(held - size)
		r.move(size)
	}
}

// move moves what has arrived to a buffer of size bytes.
func (r *Reader) move(size int) {
	old := r.buffer
	r.buffer = NewBuffer(size)
	if old != nil {
		r.end = copy(r.buffer.Bytes, old.Bytes[r.start:r.end])
		r.start = 0
		old.Free()
	}
}

// rewind makes an empty buffer ready for what comes; one that is larger than expected is given back.
func (r *Reader) rewind() {
	switch {
	case r.start < r.end || r.buffer == nil:
	case r.Held() > r.expectedSize(r.Socket.firstSize()):
		r.Release()
	default:
		r.start, r.end, r.seen = 0, 0, 0
	}
}
