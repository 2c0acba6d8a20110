package telemetry

import "github.com/shirou/gopsutil/process"

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

// Measure sets what the system knows of the worker's process. An error says that it is gone. The function of the pool's library leaves
// a descriptor open at each look, which process.NewProcess makes and Go's garbage collector closes.
func (w *Worker) Measure() error {
	p := process.Process{Pid: int32(w.Pid)} //nolint:gosec // pids are that short
	memory, err := p.MemoryInfo()
	if err != nil {
		return err
	}
	w.MemoryUsage = memory.RSS
	w.CPUPercent, err = p.CPUPercent()
	return err
}

// States of a worker, with the numbers of RoadRunner's package fsm, which all lines share.
const (
	WorkerReady     int64 = 1
	WorkerWorking   int64 = 2
	WorkerDestroyed int64 = 6
)
