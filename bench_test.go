package tcp

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"

	"github.com/roadrunner-server/sdk/v4/pool"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

var sizes = []int{64, 4 << 10, 64 << 10, 4 << 20, 64 << 20}

func packetOf(size int) []byte { return append(bytes.Repeat([]byte("x"), size-2), "\r\n"...) }

func sizeName(n int) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%dMiB", n>>20)
	case n >= 1<<10:
		return fmt.Sprintf("%dKiB", n>>10)
	default:
		return fmt.Sprintf("%dB", n)
	}
}

func BenchmarkSplit(b *testing.B) {
	for _, size := range sizes {
		b.Run(sizeName(size), func(b *testing.B) {
			packet, split := packetOf(size), splitDelimiter([]byte("\r\n"), false).split
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				if n, _, _ := split(packet, false); n != size {
					b.Fatal(n)
				}
			}
		})
	}
}

// endless is a socket on which the same packets arrive again and again, in segments.
type endless struct {
	packet []byte
	at     int
}

const segment = 16 << 10

func (s *endless) first() int { return firstBuffer }

func (s *endless) read(r *reader, _ bool) error {
	room, err := r.room()
	if err != nil {
		return err
	}
	n := copy(room[:min(len(room), segment)], s.packet[s.at:])
	r.arrived(n)
	s.at = (s.at + n) % len(s.packet)
	return nil
}

func (s *endless) attend(step func() bool) error { return portableSocket{}.attend(step) }

func (s *endless) writeNow(p []byte, _ bool) (int, error) { return len(p), nil }

// BenchmarkReader: the rate of large packets shows that what has arrived is not looked at again with each segment.
func BenchmarkReader(b *testing.B) {
	for _, size := range sizes {
		b.Run(sizeName(size), func(b *testing.B) {
			r := &reader{
				socket: &endless{packet: packetOf(size)}, framing: splitDelimiter([]byte("\r\n"), false), most: 1 << 20, memory: &memory{},
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				if packet, _, err := r.next(); err != nil || len(packet) != size {
					b.Fatal(len(packet), err)
				}
			}
		})
	}
}

func BenchmarkContexts(b *testing.B) {
	b.ReportAllocs()
	for range b.N {
		c := newContexts("127.0.0.1:50000", "smtp", "01234567-89ab-cdef-0123-456789abcdef", dialectReleased)
		c.connected("")
		c.closed(ending{why: reasonEOF})
	}
}

// BenchmarkQueue is what an exchange costs besides the pool: alone, and where many wait for two workers.
func BenchmarkQueue(b *testing.B) {
	for _, owners := range []int{1, 64} {
		b.Run(fmt.Sprintf("%downers", owners), func(b *testing.B) {
			q := testQueue(2)
			defer q.close()
			var running sync.WaitGroup
			b.ReportAllocs()
			for i := range owners {
				running.Add(1)
				go func() {
					defer running.Done()
					ticket := newTicket()
					for range (b.N + i) / owners {
						if err := q.do(ticket, jobFunc(nothing), nil, false); err != nil {
							b.Error(err)
						}
					}
				}()
			}
			running.Wait()
		})
	}
}

func nothing() {}

// BenchmarkExchange is a packet from the client's write to the end of its read, with a pool that costs nothing.
func BenchmarkExchange(b *testing.B) {
	for _, size := range []int{64, 4 << 10, 64 << 10} {
		b.Run(sizeName(size), func(b *testing.B) {
			server, client := tcpPair(b)
			packet, got := packetOf(size), make([]byte, size)
			_, ended := serveWith(answers{context: []byte("WRITE"), body: packet}, server)
			_, err := io.ReadFull(client, got) // the answer to CONNECTED
			require.NoError(b, err)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				if _, err := client.Write(packet); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(client, got); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			client.Close()
			<-ended
		})
	}
}

// BenchmarkWaitingConnection reports what one holds that has had an exchange, its goroutine's stack included.
func BenchmarkWaitingConnection(b *testing.B) {
	const connections = 1000
	q := testQueue(1)
	defer q.close()
	e := &exchanger{pool: realPool(b, pool.Config{NumWorkers: 1}), queue: q, cut: context.Background(), last: context.Background(), log: zap.NewNop()}
	l := testListener(e, zap.NewNop())
	for range b.N {
		clients, servers := make([]*net.TCPConn, connections), make([]net.Conn, connections)
		for i := range clients {
			servers[i], clients[i] = tcpPair(b)
		}
		var running sync.WaitGroup
		before := held()
		for _, server := range servers {
			running.Add(1)
			c := l.newConnection(server)
			go c.serve(running.Done)
		}
		for _, client := range clients {
			_, err := client.Write([]byte("x\r\n"))
			require.NoError(b, err)
			_, err = io.ReadFull(client, make([]byte, 3))
			require.NoError(b, err)
		}
		b.ReportMetric(float64(held()-before)/connections, "B/connection")
		for _, client := range clients {
			client.Close()
		}
		running.Wait()
	}
}

// held is what is in use, on the heap and on stacks.
func held() int64 {
	runtime.GC()
	runtime.GC() // what a sync.Pool holds outlasts the first
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
