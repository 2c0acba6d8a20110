package dispatch

import (
	"io"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/logtest"
	"github.com/rrtcp/tcp/internal/telemetry"
)

// process is a worker that is a process; its states and counts come from the test, one for each question, the last one for ever.
type process struct {
	Worker
	pid    int64
	ready  []bool
	execs  []uint64
	killed bool
	reaped bool
}

func take[T any](all *[]T) T {
	first := (*all)[0]
	if len(*all) > 1 {
		*all = (*all)[1:]
	}
	return first
}

func (p *process) Pid() int64          { return p.pid }
func (p *process) Execs() uint64       { return take(&p.execs) }
func (p *process) Is(state int64) bool { return state == telemetry.WorkerReady && take(&p.ready) }
func (p *process) Kill() error         { p.killed = true; return nil }
func (p *process) Reap()               { p.reaped = true }

func TestAstray(t *testing.T) {
	cat := exec.Command("cat")
	in, err := cat.StdinPipe()
	require.NoError(t, err)
	out, err := cat.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cat.Start())
	defer func() { in.Close(); io.Copy(io.Discard, out); cat.Wait() }()
	pid := int64(cat.Process.Pid)
	require.False(t, hasWritten(pid), "an empty pipe")
	_, err = io.WriteString(in, "a frame")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return hasWritten(pid) }, time.Minute, time.Millisecond)
	require.True(t, hasWritten(pid), "nothing was taken")
	require.False(t, hasWritten(1<<30), "no such process")

	for name, c := range map[string]struct {
		ready  []bool
		execs  []uint64
		astray bool
	}{
		"idle all the time":          {[]bool{true}, []uint64{3}, true},
		"at work":                    {[]bool{false}, []uint64{3}, false},
		"at work in the end":         {[]bool{true, false}, []uint64{3}, false},
		"at work in between":         {[]bool{true}, []uint64{3, 4}, false},
		"without an event as yet":    {[]bool{true}, []uint64{0}, false},
		"at work until it is looked": {[]bool{false, true}, []uint64{3}, false},
	} {
		log, logs := logtest.New(0)
		p := &process{pid: pid, ready: c.ready, execs: c.execs}
		d := &Dispatcher{Pool: processes{workers: []Worker{p}}, Log: log}
		d.replaceAstray()
		require.Equal(t, c.astray, p.killed, name)
		require.Equal(t, c.astray, p.reaped, "%s: it would get the next event", name)
		require.Equal(t, c.astray, logs.Len() == 1, name)
		d.replaceAstray()
		require.LessOrEqual(t, logs.Len(), 1, "it was looked a moment ago")
	}
}
