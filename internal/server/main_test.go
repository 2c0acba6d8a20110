package server

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rrtcp/tcp/internal/stream"
)

// patience is how long a test waits for an event before it fails: a machine may be busy.
const patience = 2 * time.Minute

const second = time.Second

// freed is what every byte of a buffer that is freed is overwritten with: a packet that is used after that shows it.
const freed = '!'

func TestMain(m *testing.M) {
	stream.OnFree = func(b []byte) {
		for i := range b {
			b[i] = freed
		}
	}
	goleak.VerifyTestMain(m)
}
