package stream

import "os"

// HandshakeLimiter bounds how many TLS handshakes are computed at once: keys and signatures take a processor for a millisecond
// or so each, and everything else would wait behind a thousand of them. A handshake that waits for its client has no turn, so
// that clients which go silent halfway keep nobody out. All connections share one.
type HandshakeLimiter struct {
	running chan struct{} // a semaphore: holds one element for each turn
}

// NewHandshakeLimiter returns a limiter for so many handshakes at once; 0: no limit.
func NewHandshakeLimiter(limit int) *HandshakeLimiter {
	if limit == 0 {
		return nil
	}
	return &HandshakeLimiter{running: make(chan struct{}, limit)}
}

// handshakeTurn is the turn of one handshake.
type handshakeTurn struct {
	limiter *HandshakeLimiter // nil: no limit
	expired func() bool       // the handshake is to end
	held    bool
}

// begin waits for the turn, first come first served. Where the handshake has expired meanwhile it is an error, so that nobody
// waits for those that have given up.
func (t *handshakeTurn) begin() error {
	if t.limiter != nil && !t.held {
		t.limiter.running <- struct{}{}
		t.held = true
	}
	if t.expired() {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// end gives the turn back, if there is one.
func (t *handshakeTurn) end() {
	if t.held {
		<-t.limiter.running
		t.held = false
	}
}
