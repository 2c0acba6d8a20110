package stream

import (
	"math"
	"sync/atomic"
	"time"
)

// Activity is whether something is being written, or when that was last.
type Activity struct {
	writing atomic.Bool
	ended   atomic.Int64 // nanoseconds since epoch; 0: never

	// Of the Reader alone.
	until  time.Time // the last deadline of IdleTimeout
	renews bool      // something was written meanwhile: the next one counts from then on
}

var epoch = time.Now() // for a clock that nobody sets

func (a *Activity) begin() {
	if a != nil {
		a.writing.Store(true)
	}
}

func (a *Activity) end() {
	if a != nil {
		a.ended.Store(int64(time.Since(epoch)))
		a.writing.Store(false)
	}
}

// age returns how long ago something was written. write_timeout bounds what is under way.
func (a *Activity) age() time.Duration {
	if a.writing.Load() {
		return 0
	}
	ended := a.ended.Load()
	if ended == 0 {
		return math.MaxInt64
	}
	return time.Since(epoch) - time.Duration(ended)
}
