//go:build go1.25

package server

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/stream/streamtest"
	"github.com/rrtcp/tcp/internal/wire"
)

func TestLingerIsBounded(t *testing.T) {
	const early = 300 * time.Millisecond
	for name, c := range map[string]struct {
		act  func(c *connection, client *streamtest.Conn)
		want time.Duration
	}{
		"the client stays":                          {func(*connection, *streamtest.Conn) {}, maxLinger},
		"the client sends a little":                 {func(_ *connection, client *streamtest.Conn) { client.Write([]byte("x")) }, maxLinger},
		"the client sends all that is discarded":    {func(_ *connection, client *streamtest.Conn) { client.Write(make([]byte, maxLingerBytes)) }, early},
		"the client sends one byte less":            {func(_ *connection, client *streamtest.Conn) { client.Write(make([]byte, maxLingerBytes-1)) }, maxLinger},
		"the client closes its side":                {func(_ *connection, client *streamtest.Conn) { client.CloseWrite() }, early},
		"the client resets":                         {func(_ *connection, client *streamtest.Conn) { client.Reset() }, early},
		"a drain waits for the client all the same": {func(c *connection, _ *streamtest.Conn) { c.drain(wire.ReasonShutdown) }, maxLinger},
		"an abort ends it":                          {func(c *connection, _ *streamtest.Conn) { c.abort(wire.ReasonRPC) }, early},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, client := streamtest.Pair(10)
				w := &replies{answers: []dispatch.Answer{reply("WRITECLOSE", "bye")}}
				connection, ended := serveTimed(t, limits{}, w, server)
				time.Sleep(early)
				c.act(connection, client)
				require.Equal(t, c.want, <-ended)
				require.Equal(t, "worker", w.reason)
				require.Equal(t, 1, server.Closes())
				got, _ := io.ReadAll(client)
				require.Equal(t, "bye", string(got))
			})
		})
	}
}

func TestNoLingerWithoutWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := streamtest.Pair(10)
		w := &replies{delay: second, answers: []dispatch.Answer{reply("CLOSE", "")}}
		_, ended := serveTimed(t, limits{}, w, server)
		require.Equal(t, second, <-ended)
		client.Close()
	})
}

func TestLimitsCloseHard(t *testing.T) {
	for reason, l := range map[string]limits{
		"idle": {idle: second}, "slow": {packet: second}, "too_long": {packetSize: 3},
	} {
		t.Run(reason, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, client := streamtest.Pair(10)
				w := &replies{answers: []dispatch.Answer{reply("WRITE", "hi")}}
				_, ended := serveTimed(t, l, w, server)
				want := second
				if reason != "idle" {
					time.Sleep(second)
					io.WriteString(client, "x")
					time.Sleep(second / 2)
					io.WriteString(client, "yz1")
					want = map[string]time.Duration{"slow": 2 * second, "too_long": 3 * second / 2}[reason]
				}
				require.Equal(t, want, <-ended)
				require.Equal(t, reason, w.reason)
			})
		})
	}
}

func TestDrainShortensIdleLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := streamtest.Pair(10)
		w := &replies{answers: []dispatch.Answer{reply("WRITE", "hi")}}
		c, ended := serveTimed(t, limits{}, w, server)
		time.Sleep(5 * second)
		c.drain(wire.ReasonShutdown)
		require.Equal(t, 5*second+idleLinger, <-ended)
		require.Equal(t, "shutdown", w.reason)
		client.Close()
	})
}

// A client that is about to read the answer that was owed is not idle.
func TestDrainedAnswerLingersFully(t *testing.T) {
	for _, during := range []string{"CONNECTED", "DATA"} {
		t.Run(during, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, client := streamtest.Pair(10)
				w := &replies{delay: 10 * second, answers: []dispatch.Answer{reply("WRITE", "y"), reply("WRITE", "z")}}
				c, ended := serveTimed(t, limits{}, w, server)
				want := 10 * second
				if during == "DATA" {
					want += 10 * second
					io.WriteString(client, "x\r\n")
				}
				time.Sleep(want - second)
				c.drain(wire.ReasonShutdown)
				require.Equal(t, want+maxLinger, <-ended)
				require.Equal(t, "shutdown", w.reason)
				require.Equal(t, "yz"[:len(w.events)], readString(t, client, len(w.events)))
			})
		})
	}
}
