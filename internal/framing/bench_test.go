package framing_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/framing"
)

func BenchmarkSplitDelimiter(b *testing.B) {
	for _, size := range []int{64, 4 << 10, 64 << 10, 4 << 20, 64 << 20} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			var p framing.Packets
			require.Empty(b, p.Init("x", 0))
			packet, split := append(bytes.Repeat([]byte("x"), size-2), "\r\n"...), p.New(1<<20, 0).Split
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
