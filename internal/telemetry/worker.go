package telemetry

// Worker is the state of a worker. It is, field for field, process.State of github.com/roadrunner-server/sdk/v4 and of
// github.com/roadrunner-server/pool: pointers convert without a copy.
type Worker struct {
	Pid         int64
	Status      int64 // one of the states of RoadRunner's package fsm
	NumExecs    uint64
	Created     int64  // Unix time in nanoseconds
	MemoryUsage uint64 // bytes
	CPUPercent  float64
	Command     string
	StatusStr   string // Status as a word
}

// States of a worker, with the numbers of RoadRunner's package fsm, which all lines share.
const (
	WorkerReady     int64 = 1
	WorkerWorking   int64 = 2
	WorkerDestroyed int64 = 6
)
