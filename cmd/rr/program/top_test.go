package program

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gdamore/tcell/v2"
	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/server"
	"github.com/rrtcp/tcp/internal/telemetry"
)

// samples are of a second in which two servers of three nodes did something.
func samples() (before, now sample) {
	at := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	bounds := []float64{0.001, 0.01, 0.1}
	before = sample{at: at, workers: []telemetry.Worker{{Pid: 10, NumExecs: 5}}, stats: server.Stats{
		ExchangeBounds: bounds,
		Traffic: map[string]server.Traffic{
			"smtp": {Packets: 100, Received: 1000, Exchanges: []uint64{90, 10, 0, 0}}, "left": {Packets: 50},
		},
	}}
	now = sample{at: at.Add(2 * time.Second), stats: server.Stats{
		Connections: 7, ExchangesWaiting: 3, BufferedBytes: 1536, MemoryLimit: 256 << 20, ExchangeBounds: bounds,
		Servers: map[string]int{"smtp": 5, "logs": 2, "left": 0},
		Traffic: map[string]server.Traffic{
			"smtp": {Packets: 120, Received: 1000 + 5<<20, Sent: 90, Exchanges: []uint64{92, 17, 0, 1}}, "logs": {Packets: 4}, "left": {Packets: 9},
		},
	}, workers: []telemetry.Worker{
		{Pid: 10, StatusStr: "ready", NumExecs: 9, MemoryUsage: 20 << 20, CPUPercent: 1, Created: at.UnixNano()},
		{Pid: 11, StatusStr: "working", NumExecs: 2, MemoryUsage: 30 << 20, CPUPercent: 90.5, Created: at.UnixNano()},
	}}
	return before, now
}

func TestTopLines(t *testing.T) {
	require.Equal(t, `15:04:07  connections: 7  packets/s: 12  waiting for a worker: 3
buffered: 1.5 KB of 256.0 MB
workers: 2  ready: 1  working: 1  memory: 50.0 MB

  SERVER  CONNECTIONS  PACKETS/S  RECEIVED/S  SENT/S  MEDIAN  SLOWEST
    left            0          0         0 B     0 B       -        -
    logs            2          2         0 B     0 B       -        -
    smtp            5         10      2.5 MB    45 B   <10ms   >100ms

  PID   STATUS  EXECS/S   MEMORY    CPU  AGE
   11  working        1  30.0 MB  90.5%   2s
   10    ready        2  20.0 MB   1.0%   2s`, strings.Join(topLines(samples()), "\n"))
	_, alone := samples()
	alone.stats.Nodes, alone.stats.Unreachable = map[string]server.Stats{"a": alone.stats}, 2
	require.Contains(t, topLines(alone, alone)[1], "  nodes: 1  that do not answer: 2")
}

// Counters begin with their node: what nodes have done that are missing in one of the samples was not done between them.
func TestTopLinesOfCluster(t *testing.T) {
	at := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	cluster := func(packets map[string]int64) (s sample) {
		s.stats = server.Stats{
			ExchangeBounds: []float64{0.001, 0.01}, Servers: map[string]int{"smtp": 1}, Nodes: make(map[string]server.Stats),
			Traffic: make(map[string]server.Traffic),
		}
		var sum server.Traffic
		for node, n := range packets {
			of := server.Traffic{Packets: n, Received: 10 * n, Sent: 20 * n, Exchanges: []uint64{uint64(n), 0, 0}}
			if node == "slow" {
				of.Exchanges = []uint64{0, uint64(n), 0}
			}
			s.stats.Nodes[node] = server.Stats{Traffic: map[string]server.Traffic{"smtp": of}}
			sum = server.SumTraffic(sum, of)
		}
		s.stats.Traffic["smtp"] = sum
		return s
	}
	tests := []struct {
		name        string
		before, now map[string]int64
		first, smtp string
	}{
		{
			"all answer", map[string]int64{"a": 100, "slow": 5000}, map[string]int64{"a": 107, "slow": 5002},
			"packets/s: 9 ", "smtp 1 9 90 B 180 B <1ms <10ms",
		},
		{
			"one does not", map[string]int64{"a": 100, "slow": 5000}, map[string]int64{"a": 107},
			"packets/s: 7 ", "smtp 1 7 70 B 140 B <1ms <1ms",
		},
		{
			"it does again", map[string]int64{"a": 100}, map[string]int64{"a": 107, "slow": 5002},
			"packets/s: 7 ", "smtp 1 7 70 B 140 B <1ms <1ms",
		},
		{"one takes the place of another", map[string]int64{"b": 100}, map[string]int64{"a": 107}, "packets/s: 0 ", "smtp 1 0 0 B 0 B - -"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, now := cluster(tt.before), cluster(tt.now)
			before.at, now.at = at, at.Add(time.Second)
			lines := topLines(before, now)
			require.Contains(t, lines[0], tt.first)
			require.Equal(t, tt.smtp, strings.Join(strings.Fields(lines[5]), " "))
		})
	}
}

// row is a line of the screen without the blanks behind it.
func row(screen tcell.SimulationScreen, y int) string {
	cells, width, _ := screen.GetContents()
	var text strings.Builder
	for _, cell := range cells[y*width : (y+1)*width] {
		text.WriteString(string(cell.Runes))
	}
	return strings.TrimRight(text.String(), " ")
}

func TestTopScreen(t *testing.T) {
	screen := slowScreen{tcell.NewSimulationScreen("UTF-8"), make(chan string)}
	require.NoError(t, screen.Init())
	defer screen.Fini()
	screen.SetSize(40, 8)
	ticks := make(chan time.Time, 3)
	before, now := samples()
	left := make(chan struct{})
	n := 0
	take := func() (sample, error) { // of the goroutine that refreshes
		switch n++; n {
		case 1:
			ticks <- time.Time{}
			return before, nil
		case 2:
			ticks <- time.Time{}
			return now, nil
		}
		<-screen.shown
		screen.InjectKey(tcell.KeyRune, 'x', 0)
		screen.InjectKey(tcell.KeyRune, 'q', 0)
		<-left
		return now, errors.New("after q")
	}
	require.NoError(t, topScreen(screen, ticks, take))
	close(left)
	want := topLines(before, now)
	for y := range 7 { // as much as fits
		require.Equal(t, strings.TrimRight(want[y][:min(len(want[y]), 40)], " "), row(screen.SimulationScreen, y))
	}
	require.Equal(t, "q: quit", row(screen.SimulationScreen, 7))
}

func TestTopScreenEndsWithRR(t *testing.T) {
	for size := range 3 { // of any size
		screen := tcell.NewSimulationScreen("UTF-8")
		require.NoError(t, screen.Init())
		screen.SetSize(size, size)
		gone := errors.New("gone")
		require.ErrorIs(t, topScreen(screen, nil, func() (sample, error) { return sample{}, gone }), gone)
		screen.Fini()
	}
}

// slowScreen is of a terminal that takes no output until somebody has read the first line of what it shows.
type slowScreen struct {
	tcell.SimulationScreen
	shown chan string
}

func (s slowScreen) Show() {
	s.SimulationScreen.Show()
	s.shown <- row(s.SimulationScreen, 0)
}

func TestTopScreenOutlivesTerminalThatTakesNothing(t *testing.T) {
	screen := slowScreen{tcell.NewSimulationScreen("UTF-8"), make(chan string)}
	require.NoError(t, screen.Init())
	defer screen.Fini()
	const frames = 50 // more than any queue has room for
	ticks := make(chan time.Time)
	gone := errors.New("gone")
	taken := 0
	take := func() (sample, error) { // of the goroutine that refreshes
		if taken++; taken > 2*frames {
			return sample{}, gone
		}
		return sample{stats: server.Stats{Connections: taken}}, nil
	}
	ended := make(chan error, 1)
	go func() { ended <- topScreen(screen, ticks, take) }() // ends with gone

	for range frames - 1 {
		ticks <- time.Time{}
	}
	for line := ""; !strings.Contains(line, "connections: 50 "); { // the newest one is shown when the terminal takes output again
		line = <-screen.shown
	}
	for range frames + 1 { // rr ends while the terminal takes nothing
		ticks <- time.Time{}
	}
	for {
		select {
		case <-screen.shown:
		case err := <-ended:
			require.ErrorIs(t, err, gone)
			return
		}
	}
}
