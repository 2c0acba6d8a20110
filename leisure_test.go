package tcp

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMemoryIsGivenBackOnceTheProcessRests(t *testing.T) {
	var l leisure
	const size = 64 << 20
	const much = littered + size/litteredPart
	for i, look := range []struct {
		allocated uint64 // since the one before
		isTime    bool
	}{
		{much, false}, // at work
		{0, true},     // rests
		{0, false},    // nothing has changed
		{much, false}, // at work
		{much, false}, // still
		{restless, false},
		{restless - 1, true},
	} {
		require.Equal(t, look.isTime, l.isTime(l.allocated+look.allocated, size), i)
	}
	looks := 1
	for ; !l.isTime(l.allocated+restless-1, size); looks++ {
		require.Less(t, looks, 1000)
	}
	require.Equal(t, 1+much/restless, looks, "little by little")
	for range 10 * looks {
		require.False(t, l.isTime(l.allocated+restless-1, 100*size), "a large process has more to look through")
	}
}

var garbage []byte

func TestHeapUse(t *testing.T) {
	const size = 32 << 20
	allocated, _ := heapUse()
	garbage = make([]byte, size)
	for i := range garbage {
		garbage[i] = 1
	}
	more, now := heapUse()
	require.GreaterOrEqual(t, more-allocated, uint64(size))
	require.GreaterOrEqual(t, now, uint64(size))
	garbage = nil
	debug.FreeOSMemory()
	_, then := heapUse()
	require.Less(t, then, now, "what was given back is not held")
}

func TestSpareBuffersAreDropped(t *testing.T) {
	var s spareBuffers
	for range 3 {
		s.put(s.get(mappedBuffer))
		s.put(s.get(2 * mappedBuffer))
		require.Equal(t, 3*mappedBuffer, s.bytes)
		s.drop()
		require.Zero(t, s.bytes)
		require.Empty(t, s.bySize)
	}
}

func TestBallastIsForHeavyPackets(t *testing.T) {
	var b ballast
	b.heed(heavy - 1)
	require.Empty(t, b.bytes)
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	debug.SetMemoryLimit(1 << 40)
	b.heed(heavy)
	require.Empty(t, b.bytes, "whoever has set a limit says how much memory there is")

	debug.SetMemoryLimit(1<<63 - 1)
	b = ballast{}
	runtime.GC()
	before := goal()
	b.heed(heavy)
	require.Len(t, b.bytes, ballastSize)
	runtime.GC()
	require.Greater(t, goal(), before+ballastSize, "the garbage collector waits longer")
	runtime.KeepAlive(b.bytes)
}

// goal is how large the heap is when the garbage collector has ended next.
func goal() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func TestALookGivesSpareBuffersBackToo(t *testing.T) {
	spares.put(spares.get(mappedBuffer))
	require.NotZero(t, spares.bytes)
	var l leisure
	require.Eventually(t, func() bool { // whatever else the process does
		l.tidied = 0
		l.look()
		return spares.bytes == 0
	}, 10*time.Second, 10*time.Millisecond)
}
