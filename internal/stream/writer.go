package stream

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// WriterConfig is what a Writer needs to know of its connection.
type WriterConfig struct {
	Conn        net.Conn      // the socket itself, below TLS
	Socket      Socket        // of Conn; Handshake replaces it
	Timeout     time.Duration // write_timeout: how long the client may take nothing; 0: forever
	MinRate     int           // min_rate: how many bytes a second the client must take of what waits for it; 0: any
	Memory      *Memory
	SetDeadline func(time.Time) // sets the write deadline; keeps one in the past that an abort has set
	PushQueue   int             // push_queue in bytes; 0: no limit
	// StreamBuffer is stream_buffer, what may wait of a streamed answer, in bytes; 0: the worker waits for each frame.
	StreamBuffer int
	Written      *Activity     // of what is written; may be nil
	Sent         *atomic.Int64 // counts the bytes written, of several connections; may be nil
	Owner        Owner         // nil: nothing is pushed or buffered
}

// Writer writes answers and pushes to a client, each as a whole, in the order in which they were accepted. What writes holds
// the turn: the connection's goroutine from Write until Release, for which another one writes while frames are buffered, and
// between answers a goroutine that exists while there are pushes.
type Writer struct {
	WriterConfig
	frameDeadline time.Time    // when the client must have taken all of a frame; zero: none
	total         atomic.Int64 // bytes written
	rate          rate

	buffered *frameBuffer // nil: no frame waits; owned by the connection's goroutine
	hasTurn  bool         // the connection's goroutine holds the turn; owned by it
	pushes   pushQueue
}

// looksPerTimeout is how often within the timeout a wait for the client is interrupted to see whether it has taken anything.
const looksPerTimeout = 4

// below returns a Writer for the encrypted form of what w writes.
func (w *Writer) below() *Writer {
	return &Writer{WriterConfig: WriterConfig{
		Conn: w.Conn, Socket: w.Socket, Timeout: w.Timeout, MinRate: w.MinRate, Memory: w.Memory, SetDeadline: w.SetDeadline, Owner: w.Owner,
	}}
}

// Write waits for the turn, keeps it until Release, and writes all of p. p counts as memory until it is written; held is what
// the connection holds besides, in bytes. Only the connection's goroutine may call it.
func (w *Writer) Write(p []byte, held int) error {
	if !w.Memory.Take(len(p), held) {
		return ErrMemory
	}
	defer w.Memory.Give(len(p))
	if err := w.Hold(); err != nil {
		return err
	}
	return w.writeAll(p)
}

// WriteLast writes p before the connection is closed, where the client takes it at once. The caller, the connection's goroutine,
// has the turn, or nothing was ever pushed.
func (w *Writer) WriteLast(p []byte) error {
	w.Timeout = hurriedTimeout
	if s, ok := w.Socket.(*SecureSocket); ok {
		s.hurry()
	}
	return w.writeAll(p)
}

// Total returns how many bytes were written. Any goroutine may call it.
func (w *Writer) Total() int64 { return w.total.Load() }

// writeAll writes all of p. What the system takes at once costs one system call and no deadline. The caller holds the turn.
func (w *Writer) writeAll(p []byte) error {
	w.Written.begin()
	defer w.Written.end()
	n, err := w.Socket.writeNow(p)
	w.wrote(n)
	if err != nil || n == len(p) {
		return err
	}
	return w.writeRest(p[n:])
}

// writeRest writes all of p and waits for the client meanwhile.
func (w *Writer) writeRest(p []byte) error {
	defer w.SetDeadline(time.Time{})
	interval, most := w.looks()
	for quiet := 0; len(p) > 0; quiet++ {
		if w.isTooSlow() {
			return ErrMinRate
		}
		begun := time.Now()
		if interval > 0 {
			w.SetDeadline(w.nextLook(begun, interval))
		}
		n, err := w.Conn.Write(p)
		w.wrote(n)
		w.rate.waited += time.Since(begun)
		p = p[n:]
		switch {
		case err != nil && (!errors.Is(err, os.ErrDeadlineExceeded) || interval == 0 || w.isAborted()):
			return err
		case n > 0:
			quiet = -1
		case quiet == most-1:
			return ErrWriteTimeout
		}
	}
	return nil
}

// looks returns how often a wait for the client is interrupted, and after how many interruptions without progress it ends. 0: never.
func (w *Writer) looks() (interval time.Duration, most int) {
	interval, most = w.Timeout/looksPerTimeout, looksPerTimeout
	if w.MinRate > 0 && (interval == 0 || interval > rateTime) {
		interval, most = rateTime, int((w.Timeout+rateTime-1)/rateTime)
	}
	return interval, most
}

// nextLook returns the next deadline. Behind frameDeadline all looks are over at once.
func (w *Writer) nextLook(now time.Time, interval time.Duration) time.Time {
	look := now.Add(interval)
	if w.Timeout > 0 && !w.frameDeadline.IsZero() && w.frameDeadline.Before(look) {
		return w.frameDeadline
	}
	return look
}

func (w *Writer) isAborted() bool { return w.Owner != nil && w.Owner.IsAborted() }

func (w *Writer) wrote(n int) {
	w.total.Add(int64(n))
	if w.Sent != nil {
		w.Sent.Add(int64(n))
	}
}
