package tcp

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// waitFor runs wait in a goroutine of its own; its end is told on the channel.
func waitFor(wait func() bool) chan bool {
	ended := make(chan bool, 1)
	go func() { ended <- wait() }()
	return ended
}

func requireStillWaiting(t *testing.T, ended chan bool) {
	select {
	case <-ended:
		require.Fail(t, "the wait is over")
	case <-time.After(5 * time.Millisecond):
	}
}

func TestAsManyHaveASlotAsTheLimitSays(t *testing.T) {
	s := newSlots(2)
	require.True(t, s.take())
	s.await() // one is free, and awaiting takes none
	s.await()
	require.True(t, s.take())
	third, awaiting := waitFor(s.take), waitFor(func() bool { s.await(); return true })
	requireStillWaiting(t, third)
	requireStillWaiting(t, awaiting)

	s.giveBack()
	require.True(t, <-third)
	if len(awaiting) == 0 { // it may have seen the slot before the third took it
		requireStillWaiting(t, awaiting)
		s.giveBack()
	}
	<-awaiting
}

func TestWithoutALimitNobodyWaitsForASlot(t *testing.T) {
	s := newSlots(0)
	for range 1000 {
		s.await()
		require.True(t, s.take())
	}
	require.Equal(t, 1000, s.taken)
}

func TestACloseEndsEveryWaitForASlot(t *testing.T) {
	s := newSlots(1)
	require.True(t, s.take())
	takers := []chan bool{waitFor(s.take), waitFor(s.take)}
	awaiting := waitFor(func() bool { s.await(); return true })
	requireStillWaiting(t, takers[0])
	s.close()
	for _, taker := range takers {
		require.False(t, <-taker)
	}
	<-awaiting
	require.False(t, s.take(), "now and later")
	s.giveBack()
	require.False(t, s.take(), "free ones too")
	require.Zero(t, s.taken)
}

func TestNoSlotIsLost(t *testing.T) {
	const limit = 3
	s := newSlots(limit)
	var inside, most atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 300 {
				s.await()
				if !s.take() {
					t.Error("not closed yet")
				}
				for n := inside.Add(1); ; {
					if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
						break
					}
				}
				inside.Add(-1)
				s.giveBack()
			}
		}()
	}
	wg.Wait()
	require.LessOrEqual(t, most.Load(), int64(limit))
	require.Zero(t, s.taken)
}

func tcpAddr(t *testing.T, addr string) net.Addr {
	a, err := net.ResolveTCPAddr("tcp", addr)
	require.NoError(t, err)
	return a
}

func TestEachAddressHasItsOwnLimit(t *testing.T) {
	p := peers{limit: 2}
	one, other := tcpAddr(t, "127.0.0.1:1"), tcpAddr(t, "127.0.0.2:1")
	require.True(t, p.add(one))
	require.True(t, p.add(tcpAddr(t, "127.0.0.1:2")), "ports are not told apart")
	require.False(t, p.add(one))
	require.False(t, p.add(one), "who was refused does not count")
	require.True(t, p.add(other))

	p.remove(one)
	require.True(t, p.add(one))
	require.False(t, p.add(one))

	p.remove(one)
	p.remove(one)
	require.Len(t, p.open, 1, "who has none open is not remembered")
	p.remove(other)
	require.Empty(t, p.open)
}

func TestOneAddressInTwoFormsIsOne(t *testing.T) {
	p := peers{limit: 1}
	require.True(t, p.add(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1).To4()}))
	require.False(t, p.add(&net.TCPAddr{IP: net.ParseIP("::ffff:127.0.0.1")}), "as a socket of both families names it")
	require.False(t, p.add(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1).To16()}))
	require.True(t, p.add(&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"}))
	require.False(t, p.add(&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth1"}))
}

func TestClientsOfAUnixSocketAndThoseWithoutALimitAreNotCounted(t *testing.T) {
	p := peers{limit: 1}
	for range 3 {
		require.True(t, p.add(&net.UnixAddr{Net: "unix"}))
		require.True(t, p.add(nil))
	}
	p.remove(&net.UnixAddr{Net: "unix"})
	require.Empty(t, p.open)

	p = peers{}
	for range 3 {
		require.True(t, p.add(tcpAddr(t, "127.0.0.1:1")))
	}
	p.remove(tcpAddr(t, "127.0.0.1:1"))
	require.Empty(t, p.open)
}

// accepting is a listener on a port of its own, whose worker greets; end stops it and waits for what it began.
type accepting struct {
	*listener
	refusals *[]int
	ends     chan reason
	end      func()
}

func acceptWith(t *testing.T, perServer, overall, perIP int) accepting {
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	a := accepting{
		testListener(answers{context: []byte("WRITE"), body: []byte("hi")}, zap.NewNop()), new([]int), make(chan reason, 100), nil,
	}
	a.socket, a.live, a.slots = socket, new(registry), [2]*slots{newSlots(perServer), newSlots(overall)}
	a.peers.limit = perIP
	a.refused.report = func(times int) { *a.refusals = append(*a.refusals, times) }
	a.ended = func(why reason) { a.ends <- why }
	accepted := make(chan error)
	go func() { accepted <- a.accept() }()
	a.end = sync.OnceFunc(func() {
		closeAll([]*listener{a.listener})
		require.NoError(t, <-accepted)
		a.live.drain()
		a.live.wait()
		a.refused.close()
	})
	t.Cleanup(a.end)
	return a
}

func (a accepting) dial(t *testing.T) net.Conn {
	conn, err := net.Dial("tcp", a.socket.Addr().String())
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	t.Cleanup(func() { conn.Close() })
	return conn
}

func greeted(conn net.Conn) error {
	_, err := io.ReadFull(conn, make([]byte, 2))
	return err
}

func TestClientsOverMaxConnectionsWaitAndNobodyIsDropped(t *testing.T) {
	for name, limit := range map[string][2]int{"of the server": {2, 0}, "of all servers": {0, 2}} {
		t.Run(name, func(t *testing.T) {
			a := acceptWith(t, limit[0], limit[1], 0)
			first, second, third := a.dial(t), a.dial(t), a.dial(t)
			require.NoError(t, greeted(first))
			require.NoError(t, greeted(second))
			require.NoError(t, third.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
			require.ErrorIs(t, greeted(third), os.ErrDeadlineExceeded)
			first.Close()
			require.NoError(t, third.SetReadDeadline(time.Now().Add(10*time.Second)))
			require.NoError(t, greeted(third))
			require.Equal(t, reasonEOF, <-a.ends)
			a.end()
			require.Zero(t, a.slots[0].taken)
			require.Zero(t, a.slots[1].taken)
			require.Zero(t, a.memory.used.Load())
		})
	}
}

func TestClientsOverMaxConnectionsPerIPAreClosedAtOnceWithoutAnEvent(t *testing.T) {
	a := acceptWith(t, 0, 0, 1)
	first := a.dial(t)
	require.NoError(t, greeted(first))
	for range 3 {
		require.Error(t, greeted(a.dial(t)))
	}
	first.Close()
	<-a.ends
	require.NoError(t, greeted(a.dial(t)), "one has left")
	a.end()
	require.Equal(t, []int{1, 2}, *a.refusals)
	require.Empty(t, a.peers.open)
	require.Len(t, a.ends, 1, "who is refused is no end")
	require.Zero(t, a.slots[0].taken)
}

func TestAnEndWhileAClientWaitsForASlotEndsItsWait(t *testing.T) {
	a := acceptWith(t, 0, 0, 0)
	require.NoError(t, greeted(a.dial(t)))
	a.slots[1].mu.Lock()
	a.slots[1].limit = 1 // another server was faster
	a.slots[1].mu.Unlock()
	late := a.dial(t)
	require.NoError(t, late.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	require.ErrorIs(t, greeted(late), os.ErrDeadlineExceeded)
	a.end()
	require.Len(t, a.ends, 1)
	require.NoError(t, late.SetReadDeadline(time.Now().Add(5*time.Second)))
	require.NotErrorIs(t, greeted(late), os.ErrDeadlineExceeded, "it is closed")
}

// faultyListener gives errors first, and then that it is closed.
type faultyListener struct {
	net.Listener
	errs []error
}

func (l *faultyListener) Accept() (net.Conn, error) {
	if len(l.errs) == 0 {
		return nil, net.ErrClosed
	}
	err := l.errs[0]
	l.errs = l.errs[1:]
	return nil, err
}

func (l *faultyListener) Addr() net.Addr { return &net.TCPAddr{} }

func TestNothingIsAcceptedWhileThereIsNoSlot(t *testing.T) {
	for i := range 2 {
		l := testListener(answers{}, zap.NewNop())
		l.slots = [2]*slots{newSlots(0), newSlots(0)}
		l.slots[i] = newSlots(1)
		require.True(t, l.slots[i].take())
		socket := &faultyListener{errs: []error{syscall.EMFILE}}
		l.socket = socket
		ended := waitFor(func() bool { return l.accept() == nil })
		requireStillWaiting(t, ended)
		require.Len(t, socket.errs, 1, "who is not let in waits in the system's queue")
		l.slots[i].giveBack()
		require.True(t, <-ended)
	}
}

func TestAcceptGoesOnAfterErrorsThatPassWithOneWarning(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	l := testListener(answers{}, zap.New(core))
	l.slots = [2]*slots{newSlots(0), newSlots(0)}
	passing := []error{syscall.EMFILE, os.NewSyscallError("accept", syscall.ECONNABORTED), syscall.ENFILE}
	l.socket = &faultyListener{errs: passing}
	begin := time.Now()
	require.NoError(t, l.accept())
	require.GreaterOrEqual(t, time.Since(begin), (5+10+20)*time.Millisecond)
	require.Equal(t, 1, logs.Len())

	l.socket = &faultyListener{errs: []error{syscall.EMFILE, errors.New("of a test")}}
	require.ErrorContains(t, l.accept(), "tcp: accept s tcp://:0: of a test")
}

func TestTheBackOffIsDoubledUpToASecond(t *testing.T) {
	for failures, want := range map[int]time.Duration{
		1: 5 * time.Millisecond, 2: 10 * time.Millisecond, 8: 640 * time.Millisecond, 9: time.Second, 1000: time.Second,
	} {
		require.Equal(t, want, backOff(failures), failures)
	}
}

func TestALargePacketTakesTurnsAndASmallOneDoesNot(t *testing.T) {
	server, client := tcpPair(t)
	r := limitedReader("", 1, 0, 0)
	r.socket, r.turns = newSocket(server), &turns{taken: make(chan struct{}, 1)}
	if _, ok := r.socket.(portableSocket); ok {
		t.Skip("which reads without them")
	}
	r.turns.taken <- struct{}{} // somebody else's
	io.WriteString(client, "small\n")
	_, _, err := await(r)
	require.NoError(t, err)

	io.WriteString(client, x(100_000)+"\n")
	got := make(chan int)
	go func() {
		packet, _, _ := await(r)
		got <- len(packet)
	}()
	require.Eventually(t, func() bool { return r.turns.waiting.Load() == 1 }, 5*time.Second, time.Millisecond)
	require.Empty(t, got)
	<-r.turns.taken
	require.Equal(t, 100_001, <-got)
}
