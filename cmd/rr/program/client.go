package program

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/rpc"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	goridge "github.com/roadrunner-server/goridge/v3/pkg/rpc"

	"github.com/rrtcp/tcp/internal/server"
	"github.com/rrtcp/tcp/internal/stream"
	"github.com/rrtcp/tcp/internal/telemetry"
)

// answerTimeout is how long a running rr has to answer that it is there. What it is asked then, such as a reset, may take longer.
var answerTimeout = 30 * time.Second

// workerList is what informer.Workers returns: gob matches the fields of RoadRunner's own type by name.
type workerList struct{ Workers []telemetry.Worker }

// workers prints the workers of the running rr.
func (l Line) workers(file string, out io.Writer) error {
	var list workerList
	if err := l.call(file, "informer.Workers", tcpSection, &list); err != nil {
		return err
	}

	slices.SortFunc(list.Workers, func(a, b telemetry.Worker) int { return cmp.Compare(a.Pid, b.Pid) })
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "PID\tSTATUS\tEXECS\tMEMORY\tCPU\tAGE\t")
	for _, w := range list.Workers {
		age := time.Since(time.Unix(0, w.Created)).Round(time.Second)
		fmt.Fprintf(table, "%d\t%s\t%d\t%s\t%.1f%%\t%s\t\n",
			w.Pid, w.StatusStr, w.NumExecs, size(float64(w.MemoryUsage)), w.CPUPercent, age)
	}
	return table.Flush()
}

// reset replaces the workers of the running rr.
func (l Line) reset(file string, out io.Writer) error {
	var done bool
	if err := l.call(file, "resetter.Reset", tcpSection, &done); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, "the workers are new")
	return err
}

// closeConnection closes a connection of the running rr. That it was closed before is no error.
func (l Line) closeConnection(file, uuid string, out io.Writer) error {
	var done bool
	if err := l.call(file, "tcp.Close", uuid, &done); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, uuid, "is closed")
	return err
}

// connections prints the connections of the running rr to a server; an empty name is any.
func (l Line) connections(file, name string, out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	missing := 0 // nodes
	fmt.Fprintln(table, "UUID\tSERVER\tREMOTE\tAGE\tSTATE\tPACKETS\tBYTES\tWRITTEN\tTAGS")
	for query := (server.ConnectionQuery{Server: name, Limit: 1000}); ; {
		var page server.ConnectionPage
		if err := l.call(file, "tcp.Connections", query, &page); err != nil {
			return err
		}
		for _, c := range page.Connections {
			connected, _ := time.Parse(time.RFC3339, c.ConnectedAt)
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\n", c.UUID, c.Server, c.RemoteAddr,
				time.Since(connected).Round(time.Second), c.State, c.Packets, c.Bytes, c.BytesWritten, tagList(c.Tags))
		}
		missing = max(missing, page.Unreachable)
		if query.After = page.Next; query.After == "" {
			break
		}
	}
	if err := table.Flush(); err != nil || missing == 0 {
		return err
	}
	return fmt.Errorf("nodes that did not answer: %d; their connections are missing", missing)
}

// tagList separates tags by commas. Some are what a client has sent, so those with line breaks or control characters are quoted.
func tagList(tags []string) string {
	list := slices.Clone(tags)
	for i, tag := range list {
		if quoted := strconv.Quote(tag); quoted != `"`+tag+`"` {
			list[i] = quoted
		}
	}
	return strings.Join(list, ",")
}

// nodes prints the nodes of the running rr's cluster.
func (l Line) nodes(file string, out io.Writer) error {
	var list server.NodeList
	if err := l.call(file, "tcp.Nodes", true, &list); err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NODE\tHOST\tADDRESS\tVERSION\tCONNECTIONS\tUPTIME\tHEARD")
	for _, n := range list.Nodes {
		heard, _ := time.Parse(time.RFC3339, n.LastHeard)
		ago := time.Since(heard).Round(time.Second).String() + " ago"
		if n.Self {
			ago = "this one"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", cmp.Or(n.Node, "-"), n.Host, n.Address, n.Version, n.Connections,
			time.Duration(n.Uptime)*time.Second, ago)
	}
	if err := table.Flush(); err != nil || list.Connected || len(list.Nodes) > 0 && list.Nodes[0].Node == "" {
		return err
	}
	return errors.New("what connects the nodes can't be reached")
}

// send sends a text, or what comes in, to the client of a connection of the running rr: words are its uuid and the text.
func (l Line) send(file string, words []string, in io.Reader, out io.Writer) error {
	request := server.WriteRequest{UUID: words[0]}
	if len(words) > 1 {
		request.Body = []byte(words[1])
	} else {
		var err error
		if request.Body, err = io.ReadAll(in); err != nil {
			return err
		}
	}
	var result server.PushResult
	if err := l.call(file, "tcp.Write", request, &result); err != nil {
		return err
	}
	switch result {
	case stream.PushGone:
		return fmt.Errorf("%s is not open", request.UUID)
	case server.PushUnreachable:
		return fmt.Errorf("%s: its node did not answer in time: it may have been sent or not", request.UUID)
	case stream.PushFull:
		return fmt.Errorf("%s has no room for %d bytes: push_queue is less, its client does not read, or memory_limit is used up",
			request.UUID, len(request.Body))
	}
	_, err := fmt.Fprintln(out, "sent")
	return err
}

// call asks the rr that runs with the same config.
func (l Line) call(file, method string, argument, result any) error {
	client, err := l.dial(file)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	return client.Call(method, argument, result)
}

// dial connects with the rr that runs with the same config.
func (l Line) dial(file string) (*rpc.Client, error) {
	c, from, err := l.load(file)
	if err != nil {
		return nil, err
	}
	if !c.Has(rpcSection) {
		return nil, fmt.Errorf("config %s: section rpc is missing: its key listen says where a running rr can be asked", from.Path)
	}

	listen, err := rpcListen(c)
	if err != nil {
		return nil, err
	}
	if err := CheckRPC(listen); err != nil {
		return nil, err
	}
	network, address, _ := strings.Cut(listen, "://")
	conn, err := net.DialTimeout(network, address, answerTimeout)
	if err != nil {
		return nil, fmt.Errorf("rpc.listen: %w: is rr serve running?", err)
	}
	client := rpc.NewClientWithCodec(goridge.NewClientCodec(conn))
	select {
	case <-client.Go("informer.List", true, new([]string), nil).Done: // an error is an answer, too: the call itself has its own
		return client, nil
	case <-time.After(answerTimeout):
		_ = client.Close()
		return nil, fmt.Errorf("rpc.listen: %s takes calls, but nothing has answered for %s: does rr serve hang?", listen, answerTimeout)
	}
}

// CheckRPC returns an error where the rpc plugin can't listen: the plugin itself only looks for ://.
func CheckRPC(listen string) error {
	network, address, _ := strings.Cut(listen, "://")
	_, port, err := net.SplitHostPort(address)
	if network == "unix" && address != "" || network == "tcp" && err == nil && port != "" {
		return nil
	}
	return fmt.Errorf("rpc.listen: %q is no address; want tcp://HOST:PORT or unix://PATH", listen)
}

// rpcListen is where the rpc plugin listens, as NETWORK://ADDRESS.
func rpcListen(c Config) (string, error) {
	var section struct {
		Listen string `mapstructure:"listen"`
	}
	if err := c.UnmarshalKey(rpcSection, &section); err != nil {
		return "", fmt.Errorf("rpc: %s", explain(err))
	}
	return cmp.Or(section.Listen, "tcp://127.0.0.1:6001"), nil
}
