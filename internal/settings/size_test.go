package settings

import (
	"math"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSizeInBytes(t *testing.T) {
	for size, want := range map[Size]int64{
		"4": 4 << 20, "0": 0, "0.5": 1 << 19, "64KiB": 64 << 10, "64kb": 64 << 10, "4MB": 4 << 20, "1g": 1 << 30, "512b": 512,
		"1.5 MB": 3 << 19,
	} {
		got, err := size.bytes()
		require.NoError(t, err, size)
		require.Equal(t, want, got, size)
	}
	for _, size := range []Size{"-1", "x", "4 apples", "MB", "NaN", "-1MB", "0.0001KB", "1e-9"} {
		_, err := size.bytes()
		require.ErrorContains(t, err, "is no size; want", size)
	}
}

func TestRateHasUnit(t *testing.T) {
	for _, rate := range []Size{"", "0", "0.0", "16KiB", "100b", "1k"} {
		require.NoError(t, checkRate("tcp.min_rate", rate), rate)
	}
	require.EqualError(t, checkRate("tcp.min_rate", "16384"),
		`tcp.min_rate: 16384 has no unit; want bytes a second with one, such as "16KiB", or 0 for none`)
	require.ErrorContains(t, checkRate("tcp.min_rate", "fast"), `tcp.min_rate: "fast" is no size; want`)
	require.ErrorContains(t, checkRate("tcp.min_rate", "-1"), `tcp.min_rate: "-1" is no size; want`)
}

func TestSizesInAnInt(t *testing.T) {
	l := (&Limits{PushQueue: "4GB", StreamBuffer: "8GB", MinRate: "12GB"}).resolve(new(Limits))
	for _, size := range []int{l.PushQueue, l.StreamBuffer, l.MinRate} {
		require.GreaterOrEqual(t, int64(size), min(int64(4<<30), math.MaxInt), "0 would be no limit")
	}
}

func TestNumbersInAnInt(t *testing.T) {
	for _, value := range []any{uint64(math.MaxInt) + 1, -float64(math.MinInt), strconv.FormatUint(uint64(math.MaxInt)+1, 10)} {
		lines, _ := load(with("max_connections", value))
		require.Len(t, lines, 1, "%v", lines)
		require.Contains(t, lines[0], "tcp.max_connections: ")
		require.Contains(t, lines[0], "can't be read; want a whole number")
	}
}

func FuzzSize(f *testing.F) {
	for _, size := range []string{"", "4", "0.5", "64KiB", "4MB", "1g", "-1", "NaN", "Inf", "1e3", "1e300", "0x1p4", "4 apples", "9e12"} {
		f.Add(size)
	}
	f.Fuzz(func(t *testing.T, size string) {
		n, err := Size(size).bytes()
		if err != nil {
			require.ErrorContains(t, err, "is no size; want a number of MB")
			require.Zero(t, n)
			return
		}
		require.GreaterOrEqual(t, n, int64(0))
		require.Equal(t, n, sizeOr(math.MaxInt64, "", Size(size)))
	})
}
