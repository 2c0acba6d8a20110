package tcp

import (
	"runtime"
	"sync/atomic"
	"time"
)

// turns are taken, for one system call each, by those who read into a packet that is large already: half of the
// processors is left to the rest, however many large packets there are and however fast they come.
type turns struct {
	taken   chan struct{} // holds one for each turn that is taken; receives when it ends
	waiting atomic.Int32
	hurried atomic.Bool // no pauses any more
}

func newTurns() *turns {
	return &turns{taken: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
}

const (
	// flood is how many must wait for it to be one. Who reads then makes a pause that is so many times as long as the
	// turn was: the system spends as much on taking in what is sent as we do on reading it, at everybody else's cost.
	flood        = 64
	floodPause   = 16
	longestPause = 2 * time.Millisecond
)

func (t *turns) take(read func()) {
	t.waiting.Add(1)
	t.taken <- struct{}{}
	isFlood := t.waiting.Add(-1) >= flood && !t.hurried.Load()
	defer func() { <-t.taken }()
	if !isFlood {
		read()
		return
	}
	begin := time.Now()
	read()
	time.Sleep(min(floodPause*time.Since(begin), longestPause))
}

// hurry ends the pauses: connections that are to end have turns to take until they see it.
func (t *turns) hurry() { t.hurried.Store(true) }
