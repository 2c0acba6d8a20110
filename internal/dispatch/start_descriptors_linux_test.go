package dispatch

import (
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A start that runs out of descriptors between its pipes leaves those that it has made, so none begins without enough.
func TestStartsWaitForDescriptors(t *testing.T) {
	var before unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &before))
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &before) }()
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 200, Max: before.Max}))
	var all []*os.File
	free := func() {
		for _, f := range all {
			_ = f.Close()
		}
		all = nil
	}
	defer free()
	for f, err := os.Open(os.DevNull); err == nil; f, err = os.Open(os.DevNull) {
		all = append(all, f)
	}
	for range startDescriptors - 1 {
		_ = all[0].Close()
		all = all[1:]
	}

	s := NewStarts(time.Hour)
	defer s.hurry()
	var areThere atomic.Bool
	begun := make(chan bool)
	go func() { // ends when all descriptors are free
		s.Context().(startContext).AfterFunc(func() {})()
		begun <- areThere.Load()
	}()
	select {
	case <-begun:
		require.Fail(t, "it has begun without descriptors")
	case <-time.After(2 * watchInterval):
	}
	areThere.Store(true)
	free()
	require.True(t, <-begun)
}
