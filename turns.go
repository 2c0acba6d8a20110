package tcp

import (
	"runtime"
	"sync/atomic"
	"time"
)

// turns are taken, for one system call each, by those who read into a packet that is large already: half of the
// processors is left to the rest, however many large packets there are and however fast they come.
type turns struct {
	free    chan struct{} // receives when a turn ends; as many at once as its capacity
	waiting atomic.Int32
}

const (
	// flood is how many must wait for it to be one. Who reads then makes a pause that is so many times as long as the
	// turn was: the system spends as much on what arrives as we do on reading it, at the cost of everybody else.
	flood      = 64
	floodPause = 8
)

var bulk = turns{free: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}

func (t *turns) take(read func()) {
	t.waiting.Add(1)
	t.free <- struct{}{}
	isFlood := t.waiting.Add(-1) >= flood
	defer func() { <-t.free }()
	if !isFlood {
		read()
		return
	}
	begin := time.Now()
	read()
	time.Sleep(floodPause * time.Since(begin))
}
