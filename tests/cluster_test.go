package tests

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestClusterPushes(t *testing.T) {
	withEngines(t, func(t *testing.T, e *clusterEngine) {
		nodes := e.nodesOf(2)
		a, b := nodes[0], nodes[1]
		c := b.dial("echo")
		uuid := c.receive()
		require.Equal(t, "8", uuid[14:15], "its version")

		for i := range 100 {
			require.Equal(t, pushAccepted, a.push(uuid, fmt.Sprintf("%d\r\n", i), false))
		}
		for i := range 100 {
			require.Equal(t, fmt.Sprint(i), c.receive())
		}
		var result string
		require.NoError(t, a.call("tcp.Write", writeRequest{UUID: uuid, Body: []byte("x"), Local: true}, &result))
		require.Equal(t, pushGone, result)

		a.tag(uuid, "room")
		require.Equal(t, []string{"room"}, b.connections(connectionQuery{Local: true}).Connections[0].Tags)
		var many tagRequest
		many.UUID = uuid
		for i := range 32 {
			many.Add = append(many.Add, fmt.Sprint(i))
		}
		require.ErrorContains(t, a.call("tcp.Tag", many, &result), "would have 33")

		require.Equal(t, pushAccepted, a.push(uuid, "bye\r\n", true))
		require.Equal(t, "bye\r\n", c.rest())
		require.Equal(t, "rpc", b.record.of(t, c).Reason)
		require.Equal(t, pushGone, a.push(uuid, "x", false))

		c = b.dial("echo")
		uuid = c.receive()
		a.closeConnection(uuid)
		c.requireEnd()
		a.closeConnection(uuid)
	})
}
