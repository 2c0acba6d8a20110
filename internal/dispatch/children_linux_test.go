package dispatch

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// startShell runs a script as RoadRunner runs a worker of s. It returns the line that the script prints.
func startShell(t *testing.T, s *Starts, script string) (cmd *exec.Cmd, line string) {
	t.Helper()
	cmd = exec.Command("sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Env = os.Environ()
	for name, value := range s.Env("RR_MODE", "tcp") {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	t.Cleanup(func() { // what is left of the script has the pipe
		killGroup(int64(cmd.Process.Pid))
		_, _ = io.Copy(io.Discard, out)
	})
	return cmd, strings.TrimSpace(line)
}

// The command of workers may be a script that starts the worker.
func TestWhatAWorkersScriptHasStartedIsKilled(t *testing.T) {
	s := NewStarts(time.Hour)
	shell, line := startShell(t, s, "sleep 1000 & echo $!; wait")
	worker, err := strconv.Atoi(line)
	require.NoError(t, err)
	killed, _, known := s.kill(0, nobody)
	require.True(t, known)
	require.Equal(t, 1, killed)
	require.ErrorContains(t, shell.Wait(), "killed")
	require.Eventually(t, func() bool { return !isRunning(worker) }, time.Minute, time.Millisecond)
}

// A worker may start another RoadRunner, whose processes have the worker's environment: those of its other plugins, too.
func TestWhatAPoolOfAnotherProcessLeftInTheEnvironmentIsNotKilled(t *testing.T) {
	before := lastPool.Swap(0) // the other one has its first pool, too
	s := NewStarts(time.Hour)
	lastPool.Store(before)
	other := exec.Command(os.Args[0], "-test.run=^TestFirstPool$")
	other.Env = append(os.Environ(), "RRTCP_TEST_FIRST_POOL=1")
	value, err := other.Output()
	require.NoError(t, err)
	name, _, _ := strings.Cut(string(value), "\n")
	child := exec.Command("cat")
	child.Env = append(os.Environ(), startVariable+"="+name)
	in, err := child.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	killed, _, _ := s.kill(0, nobody)
	require.Zero(t, killed)
	require.NoError(t, in.Close())
	require.NoError(t, child.Wait())
}

// TestFirstPool is the other process of the test before it.
func TestFirstPool(*testing.T) {
	if os.Getenv("RRTCP_TEST_FIRST_POOL") != "" {
		fmt.Println(NewStarts(time.Hour).pool)
	}
}

// What is this program still, as a child that is about to become another one, may be a worker.
func TestChildBetweenForkAndExec(t *testing.T) {
	child := exec.Command(os.Args[0], "-test.run=^TestLikeAFork$")
	in, err := child.StdinPipe()
	require.NoError(t, err)
	other := exec.Command("cat") // has the environment as well
	otherIn, err := other.StdinPipe()
	require.NoError(t, err)
	s := NewStarts(time.Hour)
	derive(t, s)
	require.NoError(t, child.Start())
	require.NoError(t, other.Start())
	only := func() bool {
		killed, starting, known := s.kill(0, nobody)
		return known && killed == 0 && starting == 1
	}
	require.Eventually(t, only, time.Minute, time.Millisecond)
	require.NoError(t, otherIn.Close())
	require.Eventually(t, func() bool { return !isRunning(other.Process.Pid) }, time.Minute, time.Millisecond)
	require.True(t, only(), "what has ended has no environment, either")
	require.NoError(t, in.Close())
	require.NoError(t, child.Wait())
	require.NoError(t, other.Wait())
}

// A worker's command may give it another environment, and a worker may write its title over it. It may be long in starting then; so may
// a worker of another plugin, but not one that is older than the start.
func TestChildWithAnotherEnvironmentMayBeStarting(t *testing.T) {
	run := func(environ ...string) {
		child := exec.Command("cat")
		child.Env = environ
		in, err := child.StdinPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		t.Cleanup(func() {
			require.NoError(t, in.Close())
			require.NoError(t, child.Wait())
		})
	}
	s := NewStarts(time.Hour)
	require.Zero(t, s.end(time.Hour, nobody))
	run("PATH=/bin")
	require.Zero(t, s.end(time.Hour, nobody), "nothing of this pool is starting")
	ctx, _ := derive(t, s)
	run("PATH=/bin")
	run(os.Environ()...)
	for range 2 * lostLooks {
		require.NotZero(t, s.end(time.Hour, nobody))
	}
	require.NoError(t, ctx.Err())

	for p := range s.pending {
		p.begun = p.begun.Add(time.Hour) // after all of them
	}
	require.Zero(t, s.end(time.Hour, nobody))
}

// Before Linux 6.16 a zombie's environment can be read and is empty, as that of a child without a program. Pools leave some for good.
func TestZombieIsGone(t *testing.T) {
	child := exec.Command("true")
	require.NoError(t, child.Start())
	defer func() { require.NoError(t, child.Wait()) }()
	require.Eventually(t, func() bool { return !isRunning(child.Process.Pid) }, time.Minute, time.Millisecond)
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(child.Process.Pid) + "/stat")
	require.NoError(t, err)
	require.Zero(t, parse(stat).parent)
}

// TestLikeAFork is the child of TestChildBetweenForkAndExec.
func TestLikeAFork(*testing.T) { _, _ = io.Copy(io.Discard, os.Stdin) }

// isRunning reports whether a process is there and no zombie: process 1 waits for those that have no parent.
func isRunning(pid int) bool {
	stat, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return len(stat) > 0 && !strings.Contains(string(stat), ") Z ")
}

// As the first process of a container, RoadRunner becomes the parent of what workers leave behind.
func TestWhatWorkersLeaveBehindIsNotKilled(t *testing.T) {
	require.NoError(t, unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
	defer func() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) }()
	for name, script := range map[string]string{
		"in the group of the worker": "sleep 1000 & echo $!",
		"in a group of its own":      "timeout 1000 sleep 1000 & echo $!",
		"in a session of its own":    "setsid sleep 1000 & echo $!",
	} {
		t.Run(name, func(t *testing.T) {
			s := NewStarts(time.Nanosecond)
			shell, line := startShell(t, s, script)
			pid, err := strconv.Atoi(line)
			require.NoError(t, err)
			_ = shell.Wait()
			defer func() {
				killGroup(int64(pid))
				for err := error(nil); err == nil; { // timeout has a child of its own
					_, err = unix.Wait4(pid, nil, 0, nil)
					_, _ = unix.Wait4(-pid, nil, 0, nil)
				}
			}()
			require.Eventually(t, func() bool {
				program, _ := os.ReadFile("/proc/" + line + "/comm")
				stat, _ := os.ReadFile("/proc/" + line + "/stat")
				return strings.Contains(script, strings.TrimSpace(string(program))+" 1000") && parse(stat).parent == os.Getpid()
			}, time.Minute, time.Millisecond, "it has its program and its new parent")
			derive(t, s)
			for p := range s.pending {
				p.begun = p.begun.Add(time.Hour) // much later than the process
			}
			killed, starting, known := s.kill(s.Timeout, nobody)
			require.True(t, known)
			require.Zero(t, killed+starting)
		})
	}
}
