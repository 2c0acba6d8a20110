//go:build go1.25

//go:debug asynctimerchan=0
package server

import (
	"bytes"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/settings"
)

// Helpers of tests in a bubble of testing/synctest. Its clock stands still while anything runs: durations are exact.

// replies are workers that give each event the next answer, after a delay; CONTINUE when there is none left.
type replies struct {
	delay   time.Duration
	answers []dispatch.Answer
	events  []string
	reason  string // of CLOSE
}

func (r *replies) Exchange(_ *dispatch.Call, _ <-chan struct{}, context, body []byte) (dispatch.Answer, error) {
	r.events = append(r.events, decodeEvent(context, body).context["event"].(string)+" "+string(body))
	before := bytes.Clone(body)
	time.Sleep(r.delay)
	if !bytes.Equal(before, body) {
		panic("the body has changed during the exchange")
	}
	if len(r.answers) == 0 {
		return reply("CONTINUE", ""), nil
	}
	a := r.answers[0]
	r.answers = r.answers[1:]
	return a, nil
}

func (r *replies) HandOverClose(_ *dispatch.Call, context []byte) {
	r.reason += decodeEvent(context, nil).context["reason"].(string)
}

// limits are the settings that the tests of timeouts change; the others are off.
type limits struct {
	idle, packet, write time.Duration
	packetSize          int
	rate                int
}

func (l limits) apply(to *settings.Effective) {
	to.IdleTimeout, to.PacketTimeout, to.WriteTimeout, to.MaxPacketSize = l.idle, l.packet, l.write, l.packetSize
	to.PushQueue, to.MinRate = 0, l.rate
}

// serveTimed runs a connection. ended receives how long it lasted.
func serveTimed(t *testing.T, l limits, w workers, server net.Conn) (c *connection, ended chan time.Duration) {
	listening := testListener(w)
	l.apply(&listening.settings)
	c, ended = listening.newConnection(server), make(chan time.Duration, 1)
	begin := time.Now()
	go func() {
		c.serve(func() {})
		ended <- time.Since(begin)
	}()
	t.Cleanup(func() { require.Zero(t, listening.memory.Used()) })
	return c, ended
}
