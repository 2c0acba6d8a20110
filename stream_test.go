package tcp

import (
	"fmt"
	"io"
	"math"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/roadrunner-server/sdk/v4/pool"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// streamed begins an answer in frames and has its first one.
func (e *exchanger) streamed(t *testing.T, body string) answer {
	a, err := e.exchange(newCall(0), never, dataContext, []byte(body))
	require.NoError(t, err)
	require.NotNil(t, a.more)
	require.Equal(t, 1, e.queue.admitted(), "the worker is not free")
	return a
}

func streamingPool(t *testing.T, streamTimeout, execTTL time.Duration) *exchanger {
	e, _, _ := newExchanger(t, pool.Config{
		NumWorkers: 1, StreamTimeout: streamTimeout, Supervisor: &pool.SupervisorConfig{ExecTTL: execTTL},
	})
	return e
}

// requireFree fails unless the pool has its worker back, or another one.
func (e *exchanger) requireFree(t *testing.T) {
	require.Zero(t, e.queue.admitted())
	got, f := e.say(t, "x")
	require.Nil(t, f)
	require.Equal(t, "WRITE x", got)
}

func TestAnAnswerInFramesComesWholeAndInOrder(t *testing.T) {
	e := streamingPool(t, time.Minute, time.Minute)
	pid := e.pool.Workers()[0].Pid()
	for range 3 {
		a := e.streamed(t, "stream")
		for i := 2; ; i++ {
			f, last, err := a.more.next(never)
			require.NoError(t, err)
			require.Equal(t, "stream", string(f.body))
			require.Equal(t, i == 6, last)
			if last {
				break
			}
		}
		a.more.end()
		e.requireFree(t)
	}
	require.Equal(t, pid, e.pool.Workers()[0].Pid())
}

func TestAStreamThatIsEndedGivesItsWorkerBack(t *testing.T) {
	e := streamingPool(t, time.Minute, time.Minute)
	pid := e.pool.Workers()[0].Pid()
	for frames := range 4 {
		a := e.streamed(t, "flood")
		for range 5 * frames {
			_, last, err := a.more.next(never)
			require.NoError(t, err)
			require.False(t, last)
		}
		a.more.end()
		a.more.end()
		e.requireFree(t)
	}
	require.Equal(t, pid, e.pool.Workers()[0].Pid())
}

func TestAWorkerThatDoesNotStopItsStreamIsReplacedAfterStreamTimeout(t *testing.T) {
	e := streamingPool(t, 300*time.Millisecond, time.Minute)
	pid := e.pool.Workers()[0].Pid()
	begin := time.Now()
	e.streamed(t, "deaf").more.end()
	require.GreaterOrEqual(t, time.Since(begin), 300*time.Millisecond)
	e.requireFree(t)
	require.NotEqual(t, pid, e.pool.Workers()[0].Pid())
}

func TestAWorkerThatIsSilentBetweenFramesIsBoundedByExecTTL(t *testing.T) {
	e := streamingPool(t, time.Minute, time.Second)
	a := e.streamed(t, "mute")
	_, _, err := a.more.next(never)
	var f *failure
	require.ErrorAs(t, err, &f)
	require.Equal(t, reasonError, f.why)
	require.True(t, f.reached)
	a.more.end()
	e.requireFree(t)
}

func TestAStreamThatBreaksOffIsAnError(t *testing.T) {
	e := streamingPool(t, time.Minute, time.Minute)
	for _, body := range []string{"break", "sorry"} {
		a := e.streamed(t, body)
		_, _, err := a.more.next(never)
		var f *failure
		require.ErrorAs(t, err, &f)
		require.Equal(t, reasonError, f.why)
		_, _, err = a.more.next(never)
		require.ErrorIs(t, err, errBroken)
		a.more.end()
		e.requireFree(t)
	}
}

func TestTheWaitForAFrameCanBeCancelledAndCutEndsASilentWorker(t *testing.T) {
	e, kill, _ := newExchanger(t, pool.Config{NumWorkers: 1}) // exec_ttl is an hour
	a := e.streamed(t, "mute")
	cancel := make(chan struct{})
	time.AfterFunc(100*time.Millisecond, func() { close(cancel) }) // by then the pool waits for the next frame
	_, _, err := a.more.next(cancel)
	require.ErrorIs(t, err, errCanceled)
	time.AfterFunc(50*time.Millisecond, kill)
	begin := time.Now()
	a.more.end()
	require.Less(t, time.Since(begin), 20*time.Second)
	require.Zero(t, e.queue.admitted())
}

func TestACloseThatIsAnsweredInFramesGivesItsWorkerBack(t *testing.T) {
	for _, limit := range []time.Duration{0, time.Minute} {
		e := streamingPool(t, time.Minute, time.Minute)
		c := newCall(limit)
		e.handOverClose(c, []byte(`{"event":"DATA"}flood`)) // the worker takes what it is told for a packet
		e.requireFree(t)
	}
}

func TestAFrameIsWrittenWholeWithinWriteTimeout(t *testing.T) {
	server, client := net.Pipe()
	w, _ := testWriter(server, &nowSocket{})
	w.timeout = 200 * time.Millisecond
	go func() { // never quiet, but too slow
		for range 1000 {
			if _, err := client.Read(make([]byte, 1)); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	defer server.Close()
	begin := time.Now()
	require.NoError(t, w.write(make([]byte, 20), 0), "an answer of one frame may take longer")
	require.Greater(t, time.Since(begin), w.timeout)
	require.ErrorIs(t, w.writeFrame(make([]byte, 1000), 0), errWriteTimeout)
	require.Zero(t, w.memory.used.Load())
	require.Greater(t, w.total.Load(), int64(20))
	w.timeout = 0
	go io.Copy(io.Discard, client)
	require.NoError(t, w.writeFrame(make([]byte, 1000), 0), "no timeout")
}

// streamTo answers CONNECTED with body, which says what the worker does.
type streamTo struct {
	*exchanger
	body string
}

func (s streamTo) exchange(c *call, cancel <-chan struct{}, _, _ []byte) (answer, error) {
	return s.exchanger.exchange(c, cancel, dataContext, []byte(s.body))
}

// heap is what is in use, in bytes. What comes up while the collector works looks so, too: the least of some looks is it.
func heap() uint64 {
	least := uint64(math.MaxUint64)
	for range 3 {
		var now runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&now)
		least = min(least, now.HeapAlloc)
	}
	return least
}

func TestMemoryDoesNotGrowWithAStreamedAnswer(t *testing.T) {
	const frames, most = 200, 24 << 20 // goridge reads what is over 1 MiB into a buffer of 5, maybe in one for each processor
	e, _, _ := newExchanger(t, pool.Config{NumWorkers: 1})
	server, client := tcpPair(t)
	before := heap()
	l := testListener(streamTo{e, fmt.Sprintf("large %d", frames)}, zap.NewNop())
	c := l.newConnection(server)
	ended := make(chan struct{})
	go func() { defer close(ended); c.serve(func() {}) }()

	got, looks, largest, held := 0, 0, uint64(0), int64(0)
	chunk := make([]byte, 1<<20)
	for {
		n, err := client.Read(chunk)
		got += n
		if err != nil {
			break
		}
		held = max(held, l.memory.used.Load())
		if got>>23 > looks {
			looks = got >> 23
			time.Sleep(20 * time.Millisecond) // slow: all that can wait for it does
			largest = max(largest, heap())
		}
	}
	<-ended
	require.Equal(t, frames<<20, got)
	require.Equal(t, reasonWorker, c.why)
	require.LessOrEqual(t, held, int64(1<<20), "a frame counts until it is written")
	require.Less(t, largest-before, uint64(most), "a frame in the client's hands, and the few that the pool holds")
}

func TestAClientThatTakesNothingOrIsGoneEndsTheStream(t *testing.T) {
	for name, why := range map[string]reason{"takes nothing": reasonSlow, "is gone": reasonReset, "is cut off": reasonRPC} {
		t.Run(name, func(t *testing.T) {
			e := streamingPool(t, time.Minute, time.Minute)
			pid := e.pool.Workers()[0].Pid()
			server, client := tcpPair(t)
			l := testListener(streamTo{e, "flood " + strings.Repeat("x", 10_000)}, zap.NewNop())
			l.limits.write = time.Second
			c := l.newConnection(server)
			ended := make(chan struct{})
			go func() { defer close(ended); c.serve(func() {}) }()
			_, err := io.ReadFull(client, make([]byte, 1<<20))
			require.NoError(t, err)
			switch why {
			case reasonReset:
				client.SetLinger(0)
				client.Close()
			case reasonRPC:
				c.abort(reasonRPC)
			}
			<-ended
			require.Equal(t, why, c.why)
			require.Zero(t, l.memory.used.Load())
			e.requireFree(t)
			require.Equal(t, pid, e.pool.Workers()[0].Pid())
		})
	}
}

// oneFrame is a stream of one more frame, over and over.
type oneFrame struct {
	body  []byte
	ended int
}

func (f *oneFrame) next(<-chan struct{}) (answer, bool, error) {
	return answer{body: f.body}, false, nil
}
func (f *oneFrame) end() { f.ended++ }

func TestAClientThatTakesFramesTooSlowlyIsClosed(t *testing.T) {
	server, client := net.Pipe()
	f := &oneFrame{body: make([]byte, 1000)}
	l := testListener(answers{context: []byte("WRITE"), more: f}, zap.NewNop())
	l.limits.write = 200 * time.Millisecond
	go func() {
		for {
			if _, err := client.Read(make([]byte, 1)); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	c := l.newConnection(server)
	c.serve(func() {})
	require.Equal(t, reasonSlow, c.why)
	require.Equal(t, 1, f.ended)
	require.Less(t, c.answers.total.Load(), int64(200))
}
