package main

import (
	"fmt"
	"io"
	"net/rpc"
	"sort"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/roadrunner-server/config/v4"
	goridge "github.com/roadrunner-server/goridge/v3/pkg/rpc"
	"github.com/roadrunner-server/informer/v4"
	rpcplugin "github.com/roadrunner-server/rpc/v4"
	"github.com/rrtcp/tcp"
)

// workers prints the workers of the running rr.
func workers(file string, out io.Writer) error {
	var list informer.WorkerList
	if err := call(file, "informer.Workers", tcp.PluginName, &list); err != nil {
		return err
	}

	sort.Sort(&list)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "PID\tSTATUS\tEXECS\tMEMORY\tCPU\tAGE\t")
	for _, w := range list.Workers {
		age := time.Since(time.Unix(0, w.Created)).Round(time.Second)
		fmt.Fprintf(table, "%d\t%s\t%d\t%.1f MB\t%.1f%%\t%s\t\n",
			w.Pid, w.StatusStr, w.NumExecs, float64(w.MemoryUsage)/1e6, w.CPUPercent, age)
	}
	return table.Flush()
}

// reset replaces the workers of the running rr.
func reset(file string, out io.Writer) error {
	var done bool
	if err := call(file, "resetter.Reset", tcp.PluginName, &done); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, "the workers are new")
	return err
}

// closeConnection closes a connection of the running rr. That it was closed before is no error.
func closeConnection(file, uuid string, out io.Writer) error {
	var done bool
	if err := call(file, "tcp.Close", uuid, &done); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, uuid, "is closed")
	return err
}

// connections prints the connections of the running rr; server is empty for those of all.
func connections(file, server string, out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "UUID\tSERVER\tREMOTE\tAGE\tSTATE\tPACKETS\tBYTES\tWRITTEN\tTAGS")
	for query := (tcp.ConnectionQuery{Server: server, Limit: 1000}); ; {
		var page tcp.ConnectionPage
		if err := call(file, "tcp.Connections", query, &page); err != nil {
			return err
		}
		for _, c := range page.Connections {
			connected, _ := time.Parse(time.RFC3339, c.ConnectedAt)
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\n", c.UUID, c.Server, c.RemoteAddr,
				time.Since(connected).Round(time.Second), c.State, c.Packets, c.Bytes, c.BytesWritten, strings.Join(c.Tags, ","))
		}
		if query.After = page.Next; query.After == "" {
			return table.Flush()
		}
	}
}

// send sends a text, or what comes in, to the client of a connection of the running rr: words are its uuid and the text.
func send(file string, words []string, in io.Reader, out io.Writer) error {
	request := tcp.WriteRequest{UUID: words[0]}
	if len(words) > 1 {
		request.Body = []byte(words[1])
	} else {
		var err error
		if request.Body, err = io.ReadAll(in); err != nil {
			return err
		}
	}
	var result tcp.PushResult
	if err := call(file, "tcp.Write", request, &result); err != nil {
		return err
	}
	switch result {
	case tcp.PushGone:
		return fmt.Errorf("%s is not open", request.UUID)
	case tcp.PushFull:
		return fmt.Errorf("%s has no room for it: its client does not read (push_queue), or memory_limit is used up", request.UUID)
	}
	_, err := fmt.Fprintln(out, "sent")
	return err
}

// call asks the rr that runs with the same config.
func call(file, method string, argument, result any) error {
	c, err := load(file)
	if err != nil {
		return err
	}
	if !c.Has(rpcplugin.PluginName) {
		return fmt.Errorf("config %s: section rpc is missing: its key listen says where a running rr can be asked", c.Path)
	}

	address, err := rpcConfig(c)
	if err != nil {
		return err
	}
	conn, err := address.Dialer()
	if err != nil {
		return fmt.Errorf("rpc.listen: %w: is rr serve running?", err)
	}

	client := rpc.NewClientWithCodec(goridge.NewClientCodec(conn))
	defer func() { _ = client.Close() }()
	return client.Call(method, argument, result)
}

func rpcConfig(c *config.Plugin) (rpcplugin.Config, error) {
	var section rpcplugin.Config
	if err := c.UnmarshalKey(rpcplugin.PluginName, &section); err != nil {
		return section, fmt.Errorf("rpc: %s", explain(err))
	}
	section.InitDefaults()
	return section, nil
}
