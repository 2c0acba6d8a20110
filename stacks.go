package tcp

// A goroutine begins with a stack as large as those that are in use on average, says the runtime's metric
// /gc/stack/starting-size:bytes, but with 2 KiB at least. The pool starts one for each exchange, which needs more than
// that: where most goroutines of the process wait, as connections do, it would grow its stack for every packet, at a tenth
// of what that costs. Room on a stack that nobody uses counts; with these the average is above what 2 KiB are for.

const (
	// waitingRoom is a connection's. A stack of 4 KiB, which it has anyway, has that to spare.
	waitingRoom = 384
	// keeperRoom is that of one goroutine. It makes up for those of the rest of the process, up to some eighty.
	keeperRoom = 32 << 10
)

// keepRoom is told of a local variable, which then takes its room on the stack until its function returns.
//
//go:noinline
func keepRoom([]byte) {}
