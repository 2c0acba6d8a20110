package tcp

import (
	"runtime/debug"
	"runtime/metrics"
)

// leisure gives back what nobody uses when the process rests. The garbage collector runs when as much has been allocated
// as was in use: after a crowd of connections a process that does nothing would keep garbage, and the stacks of those that
// are gone, for minutes.
type leisure struct {
	allocated uint64 // bytes, when it was looked at last
	tidied    uint64 // bytes allocated when memory was given back last
}

const (
	// restless is how many bytes are allocated between two looks, at least, when the process does not rest.
	restless = 512 << 10
	// littered is how many bytes have been allocated since the last time, at least, when it is worth while; a large
	// process, whose garbage takes longer to find, waits for a part of its size besides.
	littered     = 256 << 10
	litteredPart = 16
)

// look is called again and again. It is the whole process's rest that counts: other plugins work, too.
func (l *leisure) look() {
	allocated, size := heapUse()
	if l.isTime(allocated, size) {
		spares.drop()
		debug.FreeOSMemory()
	}
}

func (l *leisure) isTime(allocated, size uint64) bool {
	rests := allocated-l.allocated < restless
	l.allocated = allocated
	if !rests || allocated-l.tidied < littered+size/litteredPart {
		return false
	}
	l.tidied = allocated
	return true
}

// heapUse returns the bytes that were allocated so far, and those that the process holds.
func heapUse() (allocated, size uint64) {
	s := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(s)
	return s[0].Value.Uint64(), s[1].Value.Uint64() - s[2].Value.Uint64()
}
