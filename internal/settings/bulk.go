package settings

import "fmt"

// Bulk is the section bulk: events that wait for a worker go together, as one exchange. Workers have to know the event BULK.
type Bulk struct {
	// MaxEvents bounds how many events a worker gets at once; 64 by default.
	MaxEvents *int `mapstructure:"max_events"`
	// MaxBytes bounds how large they are together; 256 KB by default. A larger event goes alone.
	MaxBytes Size `mapstructure:"max_bytes"`
}

const (
	defaultBulkEvents = 64
	defaultBulkBytes  = 256 << 10
)

// check fills in the defaults and returns every mistake.
func (b *Bulk) check() []error {
	if b == nil {
		return nil
	}
	setDefault(&b.MaxEvents, defaultBulkEvents)
	const orNone = "or no section bulk to send each event alone"
	var events error
	if n := *b.MaxEvents; n < 2 {
		events = fmt.Errorf("tcp.bulk.max_events: is %d; want 2 or more, %s", n, orNone)
	}
	size := checkSize("tcp.bulk.max_bytes", b.MaxBytes)
	if size == nil && sizeOr(defaultBulkBytes, b.MaxBytes) == 0 {
		size = fmt.Errorf("tcp.bulk.max_bytes: is 0; want a size, such as \"256KB\", %s", orNone)
	}
	return []error{events, size}
}

// BulkLimits returns how many events, and how many bytes of them, go to a worker at once; zero events: each goes alone.
func (c *Config) BulkLimits() (events, bytes int) {
	if c.Bulk == nil {
		return 0, 0
	}
	const most = maxPacketSize / 2 // the context of a bulk has more than those of its events
	return *c.Bulk.MaxEvents, int(min(sizeOr(defaultBulkBytes, c.Bulk.MaxBytes), most))
}
