package dispatch

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// userHZ is the unit of times in /proc/PID/stat: proc(5) has it as sysconf(_SC_CLK_TCK), which is 100 on every platform of Go's.
const userHZ = 100

// children returns the processes that this one has started with a variable in their environment, by pid, and those of other users whose
// environment may not be read. It does not know them when there are no descriptors.
func children(name, value string) (found map[int64]child, known bool) {
	var now unix.Timespec
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
		parent, started := parse(stat)
		if parent != os.Getpid() {
			continue
		}
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		ours := bytes.Contains(append(environ, 0), []byte(name+"="+value+"\x00"))
		if ours || errors.Is(err, os.ErrPermission) {
			found[pid] = child{age: time.Duration(now.Nano()) - started, ours: ours}
		}
	}
	return found, true
}

// parse returns the parent of a process, 0 where it is gone, and when after the boot it was started.
func parse(stat []byte) (parent int, started time.Duration) {
	// The second field is the name in parentheses, which may have any characters. The others are numbered from 3: the state.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return 0, 0
	}
	parent, _ = strconv.Atoi(string(fields[4-3]))
	ticks, _ := strconv.ParseInt(string(fields[22-3]), 10, 64)
	return parent, time.Duration(ticks) * (time.Second / userHZ)
}

func killProcess(pid int64) { _ = unix.Kill(int(pid), unix.SIGKILL) }
