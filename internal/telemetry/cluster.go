package telemetry

// Cluster has the numbers of a node of a cluster.
type Cluster struct {
	Out, In, Failed, Refused int64 // messages
	Connected                bool
	Nodes, Subscriptions     int
	Asked                    *Histogram // how long questions to other nodes take
}

// A node that is alone has none of these.
var (
	descClusterMessages      = describe("cluster_messages_total", "Messages between nodes, by what became of them.", "result")
	descClusterDuration      = describe("cluster_request_duration_seconds", "Time that other nodes took to answer.")
	descClusterConnected     = describe("cluster_connected", "Whether the engine can be reached: 1, or 0.")
	descClusterNodes         = describe("cluster_nodes", "Nodes that are there, this one among them.")
	descClusterSubscriptions = describe("cluster_subscriptions", "Subjects that this node is subscribed to.")
)

func (c *Cluster) collect(out sink) {
	if c == nil {
		return
	}
	out.count(descClusterMessages, c.Out, "out")
	out.count(descClusterMessages, c.In, "in")
	out.count(descClusterMessages, c.Failed, "failed")
	out.count(descClusterMessages, c.Refused, "refused")
	out.histogram(descClusterDuration, c.Asked)
	connected := 0.0
	if c.Connected {
		connected = 1
	}
	out.gauge(descClusterConnected, connected)
	out.gauge(descClusterNodes, float64(c.Nodes))
	out.gauge(descClusterSubscriptions, float64(c.Subscriptions))
}
