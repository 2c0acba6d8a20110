package program

import (
	"context"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/gdamore/tcell/v2"
	"golang.org/x/term"

	"github.com/rrtcp/tcp/internal/server"
	"github.com/rrtcp/tcp/internal/telemetry"
)

// top shows what the running rr does, each second: on a terminal until q is pressed, as text elsewhere, and where times says how often.
func (l Line) top(file string, times int, out *os.File) error {
	client, err := l.dial(file)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	take := func() (sample, error) { return takeSample(client) }
	if times == 0 && term.IsTerminal(int(out.Fd())) {
		if screen, err := tcell.NewScreen(); err == nil && screen.Init() == nil { // otherwise a terminal that tcell does not know
			defer screen.Fini()
			return topScreen(screen, ticker.C, take)
		}
	}
	return refresh(ticker.C, times, take, func(lines []string) error {
		_, err := io.WriteString(out, strings.Join(lines, "\n")+"\n\n")
		return err
	})
}

// refresh shows at each tick what happened since the one before, so many times; 0: until something fails.
func refresh(ticks <-chan time.Time, times int, take func() (sample, error), show func([]string) error) error {
	before, err := take()
	for i := 0; err == nil && (times == 0 || i < times); i++ {
		<-ticks
		var now sample
		if now, err = take(); err == nil {
			err = show(topLines(before, now))
			before = now
		}
	}
	return err
}

// topScreen shows refresh on a screen until a key or SIGTERM ends it.
func topScreen(screen tcell.Screen, ticks <-chan time.Time, take func() (sample, error)) error {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	events := make(chan tcell.Event)
	go screen.ChannelEvents(events, ctx.Done())
	frames, failed := make(chan []string, 1), make(chan error, 1)
	go func() { // ends with the program, or the connection to rr
		failed <- refresh(ticks, 0, take, func(lines []string) error {
			select {
			case <-frames: // a terminal that takes no output for a while misses frames
			default:
			}
			frames <- lines
			return nil
		})
	}()
	var lines []string
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case lines = <-frames:
			draw(screen, lines)
		case event := <-events:
			switch event := event.(type) {
			case *tcell.EventKey:
				if event.Rune() == 'q' || event.Key() == tcell.KeyCtrlC || event.Key() == tcell.KeyEscape {
					return nil
				}
			case *tcell.EventResize:
				draw(screen, lines)
				screen.Sync()
			}
		}
	}
}

// draw shows as much of the lines as fits, and at the bottom how to leave.
func draw(screen tcell.Screen, lines []string) {
	screen.Clear()
	_, height := screen.Size()
	last := max(height-1, 0)
	for y, line := range lines[:min(len(lines), last)] {
		drawLine(screen, y, line)
	}
	drawLine(screen, last, "q: quit")
	screen.Show()
}

func drawLine(screen tcell.Screen, y int, line string) {
	for x, r := range []rune(line) { // what is beyond the screen is not drawn
		screen.SetContent(x, y, r, nil, tcell.StyleDefault)
	}
}

// sample is what rr says at one moment.
type sample struct {
	at      time.Time
	stats   server.Stats
	workers []telemetry.Worker
}

func takeSample(client *rpc.Client) (s sample, err error) {
	var list workerList
	if err = client.Call("tcp.Stats", true, &s.stats); err == nil {
		err = client.Call("informer.Workers", tcpSection, &list)
	}
	if err != nil {
		return s, fmt.Errorf("top: %w: is rr serve running?", err)
	}
	s.at, s.workers = time.Now(), list.Workers
	return s, nil
}
