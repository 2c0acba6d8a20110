package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// systemCalls prints how many of them a packet takes. Tracing slows everything down: calls that depend on who comes
// first, futex above all, are only roughly those of a host that runs alone.
func systemCalls(b *bench) error {
	if _, err := exec.LookPath("strace"); err != nil {
		fmt.Println("\nSystem calls: strace is missing.")
		return nil
	}
	fmt.Printf("\n| system calls for each packet | conns | bytes | socket reads | socket writes | all | others |\n" +
		"|---|--:|--:|--:|--:|--:|---|\n")
	for _, l := range b.traced {
		if err := b.trace(l); err != nil {
			return fmt.Errorf("strace: %w", err)
		}
	}
	return nil
}

func (b *bench) trace(l load) error {
	p, err := b.startRR()
	if err != nil {
		return err
	}
	defer p.kill()
	c, err := startClients(l, p.addresses[l.server()])
	if err != nil {
		return err
	}
	time.Sleep(b.warmUp)

	file := filepath.Join(b.dir, "strace")
	tracer := exec.Command("strace", "-f", "-y", "-o", file, "-p", fmt.Sprint(p.cmd.Process.Pid))
	if err := tracer.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if s, err := os.Stat(file); err == nil && s.Size() > 0 {
			break
		}
	}
	packets := c.answered()
	time.Sleep(b.window)
	packets = c.answered() - packets
	_ = tracer.Process.Signal(unix.SIGINT)
	_ = tracer.Wait() // which fails: it was interrupted
	if _, err := c.stop(); err != nil {
		return err
	}
	return printCalls(l, file, float64(packets))
}

// tracedCall is a line of strace's that begins a call, with what it is called on where that is a descriptor.
var tracedCall = regexp.MustCompile(`^\d+ +(\w+)\((?:\d+<(\w+))?`)

func printCalls(l load, file string, packets float64) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	calls := make(map[string]int)
	all := 0
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if m := tracedCall.FindStringSubmatch(lines.Text()); m != nil {
			calls[strings.Join(strings.Fields(m[2]+" "+m[1]), " ")]++
			all++
		}
	}

	var others []string
	for name, n := range calls {
		if share := float64(n) / packets; share >= 0.05 && name != "socket recvmsg" && name != "socket write" {
			others = append(others, fmt.Sprintf("%s %.1f", name, share))
		}
	}
	sort.Strings(others)
	fmt.Printf("| %s | %d | %s | %.2f | %.2f | %.1f | %s |\n", l, l.connections, size(int64(l.size)),
		float64(calls["socket recvmsg"])/packets, float64(calls["socket write"])/packets, float64(all)/packets,
		strings.Join(others, ", "))
	return lines.Err()
}
