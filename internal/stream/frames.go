package stream

import (
	"errors"
	"sync"
	"time"
)

// frameBuffer holds the frames of a streamed answer that the client has not taken yet. A goroutine writes them while there are any.
type frameBuffer struct {
	mu      sync.Mutex // guards everything below; not held during a write
	changed sync.Cond  // of mu; signaled when a frame was written, or could not be, and when writing has ended
	frames  [][]byte   // the first one is being written
	bytes   int        // of frames, with frameOverhead
	writing bool       // the goroutine exists
	err     error      // what made a write fail; nothing is accepted any more
	dropped int        // bytes of the frames that were not written because of err
}

// frameOverhead is what a frame that waits takes in memory besides its body, in bytes.
const frameOverhead = pushOverhead

var errFramePanic = errors.New("the goroutine that writes frames has panicked")

// WriteFrame is Write for a part of an answer whose worker waits meanwhile: the client must take all of it within Timeout. With a
// StreamBuffer it returns as soon as there is room for p, which must not be changed afterwards; Flush has what came of it.
func (w *Writer) WriteFrame(p []byte, held int) error {
	if w.StreamBuffer > 0 {
		return w.bufferFrame(p, held)
	}
	if !w.Memory.Take(len(p), held) {
		return ErrMemory
	}
	defer w.Memory.Give(len(p))
	if err := w.Hold(); err != nil {
		return err
	}
	return w.writeFrame(p)
}

// writeFrame writes p, which has to be out within Timeout. The caller holds the turn, or writes for who does.
func (w *Writer) writeFrame(p []byte) error {
	w.frameDeadline = time.Now().Add(w.Timeout)
	defer func() { w.frameDeadline = time.Time{} }()
	return w.writeAll(p)
}

// bufferFrame waits until p has room. One frame always has, as far as memory allows.
func (w *Writer) bufferFrame(p []byte, held int) error {
	if err := w.Hold(); err != nil {
		return err
	}
	if w.buffered == nil {
		w.buffered = new(frameBuffer)
		w.buffered.changed.L = &w.buffered.mu
	}
	b, size := w.buffered, len(p)+frameOverhead
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.err == nil && !w.takeRoom(size, held) {
		if b.bytes == 0 {
			return ErrMemory
		}
		b.changed.Wait()
	}
	if b.err != nil {
		return b.err
	}
	b.frames, b.bytes = append(b.frames, p), b.bytes+size
	if !b.writing {
		b.writing = true
		go w.writeBuffered(b) // ends when nothing waits, or a write fails, as after an abort; Flush waits for it
	}
	return nil
}

// takeRoom takes memory for a frame where the buffer, which is locked, has room for it.
func (w *Writer) takeRoom(size, held int) bool {
	before := w.buffered.bytes
	return (before == 0 || before+size <= w.StreamBuffer) && w.Memory.Take(size, held+before)
}

// writeBuffered writes what is in b.
func (w *Writer) writeBuffered(b *frameBuffer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.frames) > 0 {
		p := b.frames[0]
		b.mu.Unlock()
		err := w.tryFrame(p)
		b.mu.Lock()
		if err != nil {
			w.dropFrames(b, err)
			w.Owner.FrameFailed(err)
			break
		}
		b.frames[0] = nil // which the array would keep
		b.frames, b.bytes = b.frames[1:], b.bytes-len(p)-frameOverhead
		w.Memory.Give(len(p) + frameOverhead)
		b.changed.Signal()
	}
	b.writing = false
	b.changed.Signal()
}

// tryFrame is writeFrame for a goroutine that must not panic.
func (w *Writer) tryFrame(p []byte) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = errFramePanic
			w.Owner.WritePanicked(reason)
		}
	}()
	return w.writeFrame(p)
}

// dropFrames drops what b, which is locked, holds.
func (w *Writer) dropFrames(b *frameBuffer, err error) {
	for _, p := range b.frames {
		b.dropped += len(p)
	}
	w.Memory.Give(b.bytes)
	b.err, b.frames, b.bytes = err, nil, 0
}

// IsBuffering reports whether frames may wait for the client, or could not be written. Only the connection's goroutine, which
// calls Flush then, may call it.
func (w *Writer) IsBuffering() bool { return w.buffered != nil }

// Flush waits until the frames are written, or could not be; IsBuffering has reported that there are any. dropped is how many of their
// bytes were not. Only the connection's goroutine may call it.
func (w *Writer) Flush() (dropped int, err error) {
	b := w.buffered
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.writing {
		b.changed.Wait()
	}
	w.buffered = nil
	return b.dropped, b.err
}
