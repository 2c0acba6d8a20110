package dispatch

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// userHZ is the unit of times in /proc/PID/stat: proc(5) has it as sysconf(_SC_CLK_TCK), which is 100 on every platform of Go's.
const userHZ = 100

// children returns the processes that this one has started with a variable in their environment, by pid, and those that may be: of other
// users, whose environment may not be read, those with another environment, and those that are not the program yet, which takes a while
// where disks are slow. It does not know them when there are no descriptors. The first process of a container becomes the parent of what
// workers leave behind. That is none of them in the group of its worker, or in a session of its own: RoadRunner makes each worker a group.
func children(name, value string) (found map[int64]child, known bool) {
	var now unix.Timespec
	session, _ := unix.Getsid(0)
	entries, err := os.ReadDir("/proc")
	if err != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return nil, false
	}
	found = make(map[int64]child)
	for _, e := range entries {
		pid, err := strconv.ParseInt(e.Name(), 10, 64)
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if errors.Is(err, unix.EMFILE) {
			return nil, false
		}
		p := parse(stat)
		if p.parent != os.Getpid() || p.session != session || p.group != int(pid) && p.group != unix.Getpgrp() {
			continue
		}
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if errors.Is(err, unix.EMFILE) {
			return nil, false
		}
		ours := bytes.Contains(append(environ, 0), []byte(name+"="+value+"\x00"))
		mayBe := err == nil && (isBetweenForkAndExec(pid, environ) || isReplaced(environ)) // an error: it has ended
		if ours || mayBe || errors.Is(err, os.ErrPermission) {
			found[pid] = child{age: time.Duration(now.Nano()) - p.started, ours: ours}
		}
	}
	return found, true
}

// isBetweenForkAndExec reports whether a child with that environment is this program still, or has none yet.
func isBetweenForkAndExec(pid int64, environ []byte) bool {
	own, _ := os.ReadFile("/proc/self/environ")
	ownProgram, _ := os.Readlink("/proc/self/exe")
	program, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return len(environ) == 0 || bytes.Equal(environ, own) && program == ownProgram
}

// isReplaced reports whether an environment lacks variables that RoadRunner hands on to each process: its command is such as env -i, or it
// has written its title there, as PHP's cli_set_process_title does.
func isReplaced(environ []byte) bool {
	for _, own := range os.Environ() {
		name, _, _ := strings.Cut(own, "=")
		if !bytes.Contains(append([]byte{0}, environ...), []byte("\x00"+name+"=")) {
			return true
		}
	}
	return false
}

// status is a part of /proc/PID/stat.
type status struct {
	parent, group, session int           // parent 0: the process is gone, or a zombie
	started                time.Duration // after the boot
}

func parse(stat []byte) (s status) {
	// The second field is the name in parentheses, which may have any characters. The others are numbered from 3: the state.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 || fields[0][0] == 'Z' {
		return s
	}
	s.parent, _ = strconv.Atoi(string(fields[4-3]))
	s.group, _ = strconv.Atoi(string(fields[5-3]))
	s.session, _ = strconv.Atoi(string(fields[6-3]))
	ticks, _ := strconv.ParseInt(string(fields[22-3]), 10, 64)
	s.started = time.Duration(ticks) * (time.Second / userHZ)
	return s
}

// Exists reports whether there is such a process; true where that is not known.
func Exists(pid int64) bool { return !errors.Is(unix.Kill(int(pid), 0), unix.ESRCH) }

// killGroup kills a child with its group: where the command of workers is a script, the worker is a child of the shell.
func killGroup(pid int64) {
	_ = unix.Kill(-int(pid), unix.SIGKILL)
	_ = unix.Kill(int(pid), unix.SIGKILL) // it may have no group of its own
}
