package tcp

import (
	"testing"

	"github.com/roadrunner-server/sdk/v4/fsm"
	"github.com/roadrunner-server/sdk/v4/state/process"
	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/linetest"
	"github.com/rrtcp/tcp/internal/telemetry"
)

func TestConfig(t *testing.T) {
	linetest.RunConfig(t, (*Config).load, ".", "tcp.pool.dynamic_allocator")
}

func TestWorkerStatesOfThisLine(t *testing.T) {
	require.Equal(t, []int64{fsm.StateReady, fsm.StateWorking, fsm.StateDestroyed},
		[]int64{telemetry.WorkerReady, telemetry.WorkerWorking, telemetry.WorkerDestroyed})
	state := &process.State{Pid: 1, Status: fsm.StateReady, StatusStr: "ready"}
	require.Equal(t, &telemetry.Worker{Pid: 1, Status: telemetry.WorkerReady, StatusStr: "ready"}, (*telemetry.Worker)(state))
}
