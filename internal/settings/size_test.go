package settings

import (
	"math"
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
