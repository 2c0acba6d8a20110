package stream

import (
	"bufio"
	"errors"

	"github.com/rrtcp/tcp/internal/framing"
)

// The part of Reader that does not end with a packet which is too long, but drops it, or all but its first bytes. What is
// dropped is not kept: of a packet without an end the buffer holds max_packet_size and a read at most.

// dropping is what is left of a packet that was too long.
type dropping struct {
	bytes int64            // so many more
	until *framing.Framing // up to where this one finds its end; nil: bytes counts
}

// Discarded returns how many packets were dropped.
func (r *Reader) Discarded() int { return r.discarded }

// Truncated reports whether the last packet is the beginning of one that was too long.
func (r *Reader) Truncated() bool { return r.truncated }

func (r *Reader) isDropping() bool { return r.dropping.bytes > 0 || r.dropping.until != nil }

// drop drops what has arrived of a packet that was too long; false: there is more to come.
func (r *Reader) drop() bool {
	d := &r.dropping
	if d.until == nil {
		n := min(d.bytes, int64(r.Unfinished()))
		r.start, d.bytes = r.start+int(n), d.bytes-n
		return d.bytes == 0
	}
	if r.start == r.end {
		return false
	}
	n, _, err := d.until.Split(r.buffer.Bytes[r.start:r.end:r.end], r.decided)
	r.decided = false
	if n == 0 || errors.Is(err, bufio.ErrFinalToken) {
		r.start = max(r.start, r.end-d.until.Overlap) // an end may have begun
		return false
	}
	r.start, d.until = r.start+n, nil
	return true
}

// dropTail drops what the end of file leaves of a packet that was too long; true: packets may follow it.
func (r *Reader) dropTail() bool {
	if !r.isDropping() {
		return false
	}
	r.decided = true
	if r.drop() {
		return true
	}
	r.start, r.dropping = r.end, dropping{}
	return false
}

// cutTooLong takes the packet that is too long, of n bytes where its end has arrived, out of the stream. It returns what is
// handed over of it. again reports that it is dropped, so that the next one comes first.
func (r *Reader) cutTooLong(n int) (packet []byte, again bool, err error) {
	rule := r.rule()
	if rule.Narrow != nil { // it is complete, so see was not called
		if rule = rule.Narrow(r.buffer.Bytes[r.start:r.end]); rule == nil {
			return nil, false, framing.ErrTooLong
		}
	}
	size := int64(n)
	if n == 0 && rule.Size != nil {
		size = rule.Size(r.buffer.Bytes[r.start:r.end])
	}
	truncates := r.OnTooLong == framing.TooLongTruncates
	switch {
	case size == 0 && rule.Overlap == framing.Everything: // nobody could tell where it ends
		return nil, false, framing.ErrTooLong
	case truncates && r.Unfinished() < r.MaxPacketSize: // it has announced more
		return nil, false, nil
	}

	kept := 0
	if truncates {
		kept = r.MaxPacketSize
		packet = r.buffer.Bytes[r.start+min(rule.Head, kept) : r.start+kept : r.start+kept]
	}
	r.countTooLong(truncates)
	if size == 0 { // its end may have begun in what is handed over
		until := *rule // the next packet may have another one
		r.dropping.until, kept = &until, max(0, kept-rule.Overlap)
	} else {
		r.dropping.bytes = size - int64(kept)
	}
	r.advance(kept)
	r.truncated = truncates
	return packet, !truncates, nil
}

func (r *Reader) countTooLong(truncates bool) {
	counter := r.DiscardedTotal
	if truncates {
		counter = r.TruncatedTotal
	} else {
		r.discarded++
	}
	if counter != nil {
		counter.Add(1)
	}
}
