package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// process is a program under load.
type process struct {
	cmd       *exec.Cmd
	addresses map[string]string // by server
	next      *process          // of those that share its address, killed with it
}

const workers = 2

// startRR runs rr until it listens. Its workers send back what they get.
func (b *bench) startRR() (*process, error) { return b.startHost(echoWorker(b.rr), "") }

// startHost runs rr with other workers, or with one line more in the section tcp.
func (b *bench) startHost(worker []string, line string) (*process, error) {
	file, err := b.config(worker, line)
	if err != nil {
		return nil, err
	}
	return listening(exec.Command(b.rr, "serve", "-c", file), 2)
}

func echoWorker(rr string) []string { return []string{rr, "worker", "echo"} }

// startBare runs the same RoadRunner with the least that answers by its pool.
func (b *bench) startBare() (*process, error) {
	file, err := b.config(echoWorker(b.rr), "")
	if err != nil {
		return nil, err
	}
	return startRole("bare", file)
}

func (b *bench) config(worker []string, line string) (file string, err error) {
	command, err := json.Marshal(worker)
	if err != nil {
		return "", err
	}
	file = filepath.Join(b.dir, ".rr.yaml")
	config := fmt.Sprintf(`version: "3"
logs: {mode: production, level: warn}
server: {command: %s}
tcp:
  memory_limit: 1GB
  %s
  servers:
    exact: {addr: "127.0.0.1:0"}
    batch: {addr: "127.0.0.1:0", batch: true}
  pool: {num_workers: %d}
`, command, line, workers)
	return file, os.WriteFile(file, []byte(config), 0o600)
}

// startFloor runs a TCP echo without a pool.
func startFloor() (*process, error) { return startRole("floor") }

func startRole(role string, args ...string) (*process, error) {
	cmd, err := inRole(role, args...)
	if err != nil {
		return nil, err
	}
	return listening(cmd, 1)
}

// inRole is this program once more.
func inRole(role string, args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), roleKey+"="+role)
	return cmd, nil
}

var listens = regexp.MustCompile(`(\w+) listens on tcp://(\S+)`)

// listening starts a program and waits until it says that n servers listen.
func listening(cmd *exec.Cmd, n int) (*process, error) {
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, addresses: make(map[string]string)}
	lines := bufio.NewScanner(stderr)
	var said []string
	for len(p.addresses) < n && lines.Scan() {
		said = append(said, lines.Text())
		if m := listens.FindStringSubmatch(lines.Text()); m != nil {
			p.addresses[m[1]] = m[2]
		}
	}
	if len(p.addresses) < n {
		p.kill()
		return nil, fmt.Errorf("%s does not listen: %s", cmd.Path, strings.Join(said, "\n"))
	}
	go drain(lines) // ends with the program
	return p, nil
}

func drain(lines *bufio.Scanner) {
	for lines.Scan() {
		if !strings.Contains(lines.Text(), "stopping") {
			fmt.Fprintln(os.Stderr, lines.Text())
		}
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	if p.next != nil {
		p.next.kill()
	}
}

// usage is what a process has used so far.
type usage struct {
	cpu      time.Duration
	switches int64 // voluntary context switches
}

func (p *process) usage() (usage, error) {
	pid := p.cmd.Process.Pid
	cpu, err := cpuTime(pid)
	u := usage{cpu: cpu}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, task := range tasks {
		u.switches += field(task, "voluntary_ctxt_switches:") // 0 of a thread that is gone
	}
	return u, err
}

// cpuTime is that of all threads of a process, in and out of the kernel. Linux numbers the clocks of processes so.
func cpuTime(pid int) (time.Duration, error) {
	const schedulers = 2
	var t unix.Timespec
	err := unix.ClockGettime(int32(^pid<<3|schedulers), &t)
	return time.Duration(t.Nano()), err
}

// rss is the resident memory in bytes.
func (p *process) rss() int64 {
	return field(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid), "VmRSS:") * kib
}

// field is the number behind a name at the beginning of a line.
func field(file, name string) (n int64) {
	text, _ := os.ReadFile(file)
	_, rest, _ := strings.Cut("\n"+string(text), "\n"+name)
	if words := strings.Fields(rest); len(words) > 0 {
		n, _ = strconv.ParseInt(words[0], 10, 64)
	}
	return n
}

// settle waits until the process has nothing to do.
func (p *process) settle() error {
	const look, patience = 250 * time.Millisecond, time.Minute
	before, err := cpuTime(p.cmd.Process.Pid)
	for deadline := time.Now().Add(patience); err == nil && time.Now().Before(deadline); {
		time.Sleep(look)
		var now time.Duration
		now, err = cpuTime(p.cmd.Process.Pid)
		if now-before < look/100 {
			return err
		}
		before = now
	}
	return errors.Join(err, errors.New("the program does not come to rest"))
}
