package stream

import (
	"runtime"
	"sync/atomic"
	"time"
)

// ReadLimiter bounds how many reads of large packets run at once, so that half of the processors are left to everything
// else however many large packets arrive. All connections share one.
type ReadLimiter struct {
	running  chan struct{} // a semaphore: holds one element for each read that runs
	waiting  atomic.Int32  // reads that wait for it
	unpaused atomic.Bool   // no pauses any more
}

const (
	// floodSize is the number of waiting reads above which every read is followed by a pause, pauseFactor times as long as
	// the read took but at most maxPause: each read makes room in the receive window, and to fill it costs the system as much
	// as the read costs this process.
	floodSize   = 64
	pauseFactor = 16
	maxPause    = 2 * time.Millisecond
)

// NewReadLimiter returns a ReadLimiter for half of GOMAXPROCS.
func NewReadLimiter() *ReadLimiter {
	return &ReadLimiter{running: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
}

// Do calls read, which must not wait for the peer, when few enough others run.
func (l *ReadLimiter) Do(read func()) {
	l.waiting.Add(1)
	l.running <- struct{}{}
	isFlood := l.waiting.Add(-1) >= floodSize && !l.unpaused.Load()
	defer func() { <-l.running }()
	if !isFlood {
		read()
		return
	}
	begin := time.Now()
	read()
	time.Sleep(min(pauseFactor*time.Since(begin), maxPause))
}

// StopPausing ends the pauses: at shutdown the connections that wait here must soon see that they are to end.
func (l *ReadLimiter) StopPausing() { l.unpaused.Store(true) }
