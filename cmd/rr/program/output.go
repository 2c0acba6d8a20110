package program

import (
	"bytes"
	"os"
	"sync"
	"time"
)

const (
	outputChunk = 64 << 10
	outputQueue = 64 // chunks
	// flushTime is how long the end waits for a reader of what was written last.
	flushTime = time.Second
)

// output stands in front of standard output or standard error. While the program runs a reader that is slow makes it wait, as
// without; when it stops, what does not fit the queue is dropped: nobody may be reading, and whatever logs would hang for ever.
type output struct {
	file     **os.File // which of the two; set by replaceOutputs
	to, pipe *os.File
	queue    chan []byte
	once     sync.Once
	stopping chan struct{} // closed, once, when nothing waits any more
	written  chan struct{} // closed when the queue is closed and written
}

func newOutput(to *os.File) (*output, error) {
	from, pipe, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	o := &output{
		to: to, pipe: pipe, queue: make(chan []byte, outputQueue), stopping: make(chan struct{}), written: make(chan struct{}),
	}
	go o.enqueue(from) // ends when the pipe is closed
	go o.write()       // ends with enqueue, or with the program where nobody reads
	return o, nil
}

func (o *output) enqueue(from *os.File) {
	defer close(o.queue)
	defer func() { _ = from.Close() }()
	buffer := make([]byte, outputChunk)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		chunk := bytes.Clone(buffer[:n])
		select {
		case o.queue <- chunk:
			continue
		default:
		}
		select {
		case o.queue <- chunk:
		case <-o.stopping:
		}
	}
}

func (o *output) write() {
	defer close(o.written)
	for chunk := range o.queue {
		_, _ = o.to.Write(chunk)
	}
}

// close returns when everything is written, or nobody reads; false: then nothing more may be written to the file.
func (o *output) close() bool {
	_ = o.pipe.Close()
	select {
	case <-o.written:
		return true
	case <-time.After(flushTime):
		return false
	}
}

// outputs are standard output and standard error.
type outputs []*output

// replaceOutputs puts an output before both.
func replaceOutputs() (all outputs) {
	for _, file := range []**os.File{&os.Stdout, &os.Stderr} {
		o, err := newOutput(*file)
		if err != nil {
			continue // no descriptors: everything else will say so
		}
		o.file, *file = file, o.pipe
		all = append(all, o)
	}
	return all
}

// stop ends all waits for readers, now and later. It may be called again.
func (all outputs) stop() {
	for _, o := range all {
		o.once.Do(func() { close(o.stopping) })
	}
}

// restore ends what replaceOutputs has begun, after stop.
func (all outputs) restore() {
	for _, o := range all {
		*o.file = o.to
		if !o.close() {
			*o.file, _ = os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		}
	}
}
