package stream

import "sync"

// PushResult says what became of a push. None of its values says that the client has received it.
type PushResult string

const (
	// PushAccepted says that it is written behind what was accepted before it, as a whole, or the connection ends.
	PushAccepted PushResult = "accepted"
	// PushGone says that no such connection is open, or it is about to end.
	PushGone PushResult = "gone"
	// PushFull says that push_queue bytes wait for the client already, or memory_limit is used up.
	PushFull PushResult = "full"
)

// Owner is the connection of a Writer that accepts pushes or buffers frames. All methods but IsAborted and IsOpening are called by
// Push or by a goroutine that writes.
type Owner interface {
	// IsAborted reports whether the connection ends at once: pushes are neither accepted nor written.
	IsAborted() bool
	// IsOpening reports whether the connection is still before CONNECTED: pushes are not accepted.
	IsOpening() bool
	// DrainForPush makes the connection end behind a push that was accepted as its last one. It is called before the push can
	// be written, with the queue locked: it must not call the Writer.
	DrainForPush()
	// PushFailed ends the connection after a push that was not written, or in part only.
	PushFailed(err error)
	// FrameFailed is told of a frame that waited and was not written, or in part only. It must not call the Writer.
	FrameFailed(err error)
	// CloseWrite tells the client that nothing more comes: the last push is out. The connection's goroutine may be in an
	// exchange meanwhile.
	CloseWrite()
	// WritePanicked ends the connection after a goroutine that writes pushes or frames has panicked with p.
	WritePanicked(p any)
}

// push is one body on its way to the client.
type push struct {
	body []byte // read-only; other connections may have it too
	last bool   // the connection ends behind it
}

// pushOverhead is what a push that waits takes in memory besides its body, in bytes.
const pushOverhead = 64

func (p push) cost() int { return len(p.body) + pushOverhead }

// pushQueue holds the pushes that wait, and who has the turn to write.
type pushQueue struct {
	mu     sync.Mutex    // guards everything below; not held during a write
	taken  bool          // the turn is held
	closed bool          // nothing is accepted any more
	pushed bool          // there were pushes
	queue  []push        // what waits, without the one that is being written
	bytes  int           // of the bodies of queue and of the one that is being written
	count  int           // of these pushes
	answer chan struct{} // closed when the answer that waits gets the turn; nil: none waits
	before int           // the number of pushes in queue that were accepted before that answer
	err    error         // what made a push fail
}

// Push puts body behind what the connection writes now, and returns at once. last ends the connection behind it. The
// caller must not change body afterwards. Any goroutine may call Push.
func (w *Writer) Push(body []byte, last bool) PushResult {
	p, q := push{body, last}, &w.pushes
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed, w.Owner.IsAborted(), w.Owner.IsOpening():
		return PushGone
	case len(body) == 0 && !last:
		return PushAccepted
	case w.PushQueue > 0 && q.bytes+len(body) > w.PushQueue, !w.Memory.Take(p.cost(), q.bytes+q.count*pushOverhead):
		return PushFull
	}

	if last {
		w.Owner.DrainForPush()
	}
	q.closed, q.pushed = last, true
	q.bytes += len(body)
	q.count++
	q.queue = append(q.queue, p)
	if !q.taken {
		q.taken = true
		go w.writePushes() // ends when nothing waits, or soon after an abort; TakeTurn waits for it
	}
	return PushAccepted
}

// writePushes holds the turn until nothing waits or an answer does.
func (w *Writer) writePushes() {
	for {
		p, ok := w.pushes.next()
		if !ok {
			return
		}
		w.writePush(p)
	}
}

// next returns the push that is to be written next; false: the turn has been passed on or given back.
func (q *pushQueue) next() (push, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.answer != nil && q.before == 0:
		close(q.answer)
		q.answer = nil
		return push{}, false
	case len(q.queue) == 0:
		q.taken, q.queue = false, nil
		return push{}, false
	}
	p := q.queue[0]
	q.queue[0] = push{} // which the array would keep
	q.queue = q.queue[1:]
	if q.answer != nil {
		q.before--
	}
	return p, true
}

// writePush writes p, or drops it where the connection is aborted, or a push before it has failed: the system says once why.
func (w *Writer) writePush(p push) {
	defer func() {
		if reason := recover(); reason != nil {
			w.Owner.WritePanicked(reason)
		}
	}()
	defer w.pushDone(p)
	if w.Owner.IsAborted() || w.PushErr() != nil {
		return
	}
	err := w.writeAll(p.body)
	switch {
	case err != nil:
		w.pushFailed(err)
	case p.last:
		w.Owner.CloseWrite()
	}
}

func (w *Writer) pushDone(p push) {
	w.pushes.mu.Lock()
	w.pushes.bytes -= len(p.body)
	w.pushes.count--
	w.pushes.mu.Unlock()
	w.Memory.Give(p.cost())
}

func (w *Writer) pushFailed(err error) {
	if w.Owner.IsAborted() {
		return // the abort made the write fail
	}
	w.pushes.mu.Lock()
	w.pushes.err, w.pushes.closed = err, true
	w.pushes.mu.Unlock()
	w.Owner.PushFailed(err)
}

// PushErr returns what made a push fail; nil: none did.
func (w *Writer) PushErr() error {
	w.pushes.mu.Lock()
	defer w.pushes.mu.Unlock()
	return w.pushes.err
}

// HasTurn reports whether the connection's goroutine, which alone may call it, holds the turn.
func (w *Writer) HasTurn() bool { return w.hasTurn }

// Hold waits for the turn and keeps it until Release: pushes wait. The error is why nothing can be written any more; none follows a
// push that ends the connection. Only the connection's goroutine may call it.
func (w *Writer) Hold() error {
	if w.hasTurn {
		return nil
	}
	w.pushes.mu.Lock()
	switch {
	case w.pushes.err != nil:
		defer w.pushes.mu.Unlock()
		return w.pushes.err
	case w.pushes.closed:
		w.pushes.mu.Unlock()
		return ErrPushClosed
	}
	w.takeLocked()
	return nil
}

// TakeTurn waits until the connection's goroutine, which calls it, holds the turn: all pushes accepted so far are written or
// dropped then.
func (w *Writer) TakeTurn() {
	if w.hasTurn {
		return
	}
	w.pushes.mu.Lock()
	w.takeLocked()
}

// takeLocked takes the turn. It unlocks the queue. The wait ends: what a push writes has a deadline, which an abort moves to
// the past.
func (w *Writer) takeLocked() {
	w.hasTurn = true
	q := &w.pushes
	if !q.taken {
		q.taken = true
		q.mu.Unlock()
		return
	}
	turn := make(chan struct{})
	q.answer, q.before = turn, len(q.queue)
	q.mu.Unlock()
	<-turn
}

// Release gives the turn back; pushes that came meanwhile go out.
func (w *Writer) Release() {
	if !w.hasTurn {
		return
	}
	w.hasTurn = false
	q := &w.pushes
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.taken = len(q.queue) > 0; q.taken {
		go w.writePushes() // as in Push
	}
}

// ClosePushes stops accepting pushes; drop discards those that wait. pending reports whether some still wait or are being
// written, pushed whether there were any at all. The connection's goroutine calls it.
func (w *Writer) ClosePushes(drop bool) (pending, pushed bool) {
	q := &w.pushes
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	if drop {
		for _, p := range q.queue {
			w.Memory.Give(p.cost())
		}
		q.queue = nil
	}
	return q.taken && !w.hasTurn, q.pushed
}
