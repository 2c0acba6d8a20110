package tests

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// crowd is a number of clients that ask, each in its own goroutine, until they are told to stop.
type crowd struct {
	clients   []*client
	exchanges atomic.Int64
	failed    atomic.Pointer[error] // the first one
	over      atomic.Bool
	wg        sync.WaitGroup
}

func (h *host) crowd(n int) *crowd {
	h.t.Helper()
	cr := new(crowd)
	for range n {
		cr.clients = append(cr.clients, h.dial("echo"))
	}
	for i, c := range cr.clients {
		cr.wg.Add(1)
		go cr.ask(i, c) // ends after stop
	}
	return cr
}

func (cr *crowd) ask(i int, c *client) {
	defer cr.wg.Done()
	for n := 0; !cr.over.Load(); n++ {
		want := fmt.Sprintf("%d of client %d\r\n", n, i)
		_, err := c.Write([]byte(want))
		if err == nil {
			var got string
			if got, err = c.r.ReadString('\n'); err == nil && got != want {
				err = fmt.Errorf("got %q for %q", got, want)
			}
		}
		if err != nil {
			cr.failed.CompareAndSwap(nil, &err)
			return
		}
		cr.exchanges.Add(1)
	}
}

// busy waits until n more exchanges have ended.
func (cr *crowd) busy(t *testing.T, n int64) {
	t.Helper()
	from := cr.exchanges.Load()
	eventually(t, "exchanges go on", func() bool {
		if err := cr.failed.Load(); err != nil {
			require.NoError(t, *err)
		}
		return cr.exchanges.Load() >= from+n
	})
}

// requireUnharmed ends the asking and fails if one exchange did, or one connection.
func (cr *crowd) requireUnharmed(t *testing.T) {
	t.Helper()
	cr.over.Store(true)
	cr.wg.Wait()
	if err := cr.failed.Load(); err != nil {
		require.NoError(t, *err)
	}
	for _, c := range cr.clients {
		require.Equal(t, "still here", c.ask("still here"))
	}
}
