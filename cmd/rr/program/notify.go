package program

import (
	"net"
	"os"
	"strconv"
	"time"
)

// notifier tells the service manager how the program is, as sd_notify(3) has it. Without one it does nothing.
type notifier struct {
	socket   string
	watchdog time.Duration // how often it wants to hear of the program; 0: it does not
}

// newNotifier takes the variables of the service manager out of the environment: they are not meant for the workers.
func newNotifier() *notifier {
	n := &notifier{socket: os.Getenv("NOTIFY_SOCKET")}
	usec, _ := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if pid := os.Getenv("WATCHDOG_PID"); usec > 0 && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		n.watchdog = time.Duration(usec) * time.Microsecond
	}
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		_ = os.Unsetenv(name)
	}
	return n
}

// send sends a state. A service manager that does not listen is no reason to do anything else.
func (n *notifier) send(state string) {
	if n.socket == "" {
		return
	}
	conn, err := net.Dial("unixgram", n.socket)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = conn.Write([]byte(state))
}

// watch tells the watchdog, twice as often as it wants, that the program is well. isWell returns when it is, and hangs otherwise.
func (n *notifier) watch(isWell func()) {
	if n.watchdog == 0 || n.socket == "" {
		return
	}
	for {
		isWell()
		n.send("WATCHDOG=1")
		time.Sleep(n.watchdog / 2)
	}
}
