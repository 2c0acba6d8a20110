package program

import (
	"bytes"
	"io"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func pipe(t *testing.T) (r, w *os.File) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Close(); _ = w.Close() })
	return r, w
}

func TestOutputPassesEverything(t *testing.T) {
	r, w := pipe(t)
	o, err := newOutput(w)
	require.NoError(t, err)
	sent := bytes.Repeat([]byte("0123456789"), 1_000_000) // more than the queue holds
	got := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(r)
		got <- b
	}()
	_, err = o.pipe.Write(sent)
	require.NoError(t, err)
	require.NoError(t, o.pipe.Close())
	<-o.written
	require.NoError(t, w.Close())
	require.True(t, bytes.Equal(sent, <-got))
}

func TestOutputNeverWaitsWhenItStops(t *testing.T) {
	_, w := pipe(t) // which nobody reads
	o, err := newOutput(w)
	require.NoError(t, err)
	close(o.stopping)
	_, err = o.pipe.Write(make([]byte, 10<<20)) // more than the pipe and the queue hold
	require.NoError(t, err)
	require.False(t, o.close())
}

func TestOutputTakesMemoryForWhatIsWritten(t *testing.T) {
	r, w := pipe(t)
	o, err := newOutput(w)
	require.NoError(t, err)
	const lines = 1000
	line, got := []byte("a line of a log\n"), make([]byte, 64)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range lines {
		_, err = o.pipe.Write(line)
		require.NoError(t, err)
		n, err := io.ReadFull(r, got[:len(line)])
		require.NoError(t, err)
		require.Equal(t, line, got[:n])
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(lines*1024))
	require.NoError(t, o.pipe.Close())
	<-o.written
}
