//go:build go1.25

package server

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// start runs wait in a goroutine of its own; the result is sent to the channel.
func start(wait func() bool) chan bool {
	ended := make(chan bool, 1)
	go func() { ended <- wait() }()
	return ended
}

func (l *connLimiter) waitTrue() bool {
	l.wait()
	return true
}

func TestConnLimiterBoundsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newConnLimiter(2)
		require.True(t, l.acquire())
		l.wait() // for a place, which it does not take
		l.wait()
		require.True(t, l.acquire())
		third, fourth, waiting := start(l.acquire), start(l.acquire), start(l.waitTrue)
		synctest.Wait()
		require.Empty(t, third)
		require.Empty(t, fourth)
		require.Empty(t, waiting)

		l.release()
		synctest.Wait()
		require.Equal(t, 1, len(third)+len(fourth), "one place for one")
		l.release()
		synctest.Wait()
		require.Equal(t, 2, len(third)+len(fourth))
		l.release()
		synctest.Wait()
		require.Len(t, waiting, 1)
		require.Equal(t, 1, l.open)
	})
}

func TestConnLimiterWithoutLimit(t *testing.T) {
	l := newConnLimiter(0)
	for range 1000 {
		l.wait()
		require.True(t, l.acquire())
	}
	require.Equal(t, 1000, l.open)
}

func TestConnLimiterCloseEndsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newConnLimiter(1)
		require.True(t, l.acquire())
		acquiring := []chan bool{start(l.acquire), start(l.acquire)}
		waiting := start(l.waitTrue)
		synctest.Wait()
		require.Empty(t, acquiring[0])
		l.close()
		for _, ended := range acquiring {
			require.False(t, <-ended)
		}
		<-waiting
		require.False(t, l.acquire(), "now and later")
		l.release()
		require.False(t, l.acquire(), "also where a place is free")
		l.wait()
		require.Zero(t, l.open)
	})
}

func TestConnLimiterLosesNoPlace(t *testing.T) {
	const limit = 3
	l := newConnLimiter(limit)
	var inside, maxInside atomic.Int64
	var all sync.WaitGroup
	for range 16 {
		all.Add(1)
		go func() {
			defer all.Done()
			for range 300 {
				l.wait()
				assert.True(t, l.acquire())
				for n := inside.Add(1); ; {
					if m := maxInside.Load(); n <= m || maxInside.CompareAndSwap(m, n) {
						break
					}
				}
				inside.Add(-1)
				l.release()
			}
		}()
	}
	all.Wait()
	require.LessOrEqual(t, maxInside.Load(), int64(limit))
	require.Zero(t, l.open)
}

func tcpAddr(t *testing.T, addr string) net.Addr {
	a, err := net.ResolveTCPAddr("tcp", addr)
	require.NoError(t, err)
	return a
}

func TestIPLimiterCountsAddresses(t *testing.T) {
	l := ipLimiter{limit: 2}
	one, other := tcpAddr(t, "127.0.0.1:1"), tcpAddr(t, "127.0.0.2:1")
	require.True(t, l.acquire(one))
	require.True(t, l.acquire(tcpAddr(t, "127.0.0.1:2")), "ports do not matter")
	require.False(t, l.acquire(one))
	require.False(t, l.acquire(one), "a refusal is not counted")
	require.True(t, l.acquire(other))

	l.release(one)
	require.True(t, l.acquire(one))
	require.False(t, l.acquire(one))

	l.release(one)
	l.release(one)
	require.Len(t, l.open, 1, "an address with no connection takes no memory")
	l.release(other)
	require.Empty(t, l.open)
}

func TestIPLimiterUnifiesForms(t *testing.T) {
	l := ipLimiter{limit: 1}
	require.True(t, l.acquire(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1).To4()}))
	require.False(t, l.acquire(&net.TCPAddr{IP: net.ParseIP("::ffff:127.0.0.1")}), "as a socket of both families has it")
	require.False(t, l.acquire(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1).To16()}))
	require.True(t, l.acquire(&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"}))
	require.False(t, l.acquire(&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth1"}))
}

func TestIPLimiterSkipsUncounted(t *testing.T) {
	for name, test := range map[string]struct {
		limit int
		from  net.Addr
	}{
		"a unix socket": {1, &net.UnixAddr{Net: "unix"}}, "no address": {1, nil}, "no limit": {0, tcpAddr(t, "127.0.0.1:1")},
	} {
		l := ipLimiter{limit: test.limit}
		for range 3 {
			require.True(t, l.acquire(test.from), name)
		}
		l.release(test.from)
		require.Empty(t, l.open, name)
	}
}
