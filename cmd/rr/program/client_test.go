package program

import (
	"io"
	"net"
	"net/rpc"
	"strings"
	"testing"
	"time"

	goridge "github.com/roadrunner-server/goridge/v3/pkg/rpc"
	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/server"
)

// rpcConfig says where an rr can be asked.
type rpcConfig struct {
	Config
	listen string
}

func (c rpcConfig) Init() error         { return nil }
func (c rpcConfig) Has(key string) bool { return key == rpcSection }
func (c rpcConfig) UnmarshalKey(_ string, section any) error {
	section.(*struct {
		Listen string `mapstructure:"listen"`
	}).Listen = c.listen
	return nil
}

// taggedConnections answers tcp.Connections with one that has these tags.
type taggedConnections []string

func (tags taggedConnections) Connections(_ server.ConnectionQuery, page *server.ConnectionPage) error {
	page.Connections = []server.Connection{{UUID: "1", Tags: tags}}
	return nil
}

// Tags may come from clients.
func TestConnectionsQuotesTags(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	rr := rpc.NewServer()
	require.NoError(t, rr.RegisterName("tcp", taggedConnections{"room:3", "café", "\x1b[2J", "a\n2  echo", `"b"`, "\xff", "\u202e"}))
	go func() { // ends with its client
		if conn, err := listener.Accept(); err == nil {
			rr.ServeCodec(goridge.NewCodec(conn))
		}
	}()

	l := Line{Config: func(Source) Config { return rpcConfig{listen: "tcp://" + listener.Addr().String()} }}
	var out strings.Builder
	require.NoError(t, l.connections("rr.yaml", "", &out))
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	require.Len(t, lines, 2, out.String())
	require.True(t, strings.HasSuffix(lines[1], `  room:3,café,"\x1b[2J","a\n2  echo","\"b\"","\xff","\u202e"`), lines[1])
}

// A stopped process still takes connections: the system does.
func TestCallsEndWhereNobodyAnswers(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	defer func(before time.Duration) { answerTimeout = before }(answerTimeout)
	answerTimeout = 3 * time.Second

	address := "tcp://" + listener.Addr().String()
	l := Line{Config: func(Source) Config { return rpcConfig{listen: address} }}
	err = l.reset("rr.yaml", io.Discard)
	require.EqualError(t, err, "rpc.listen: "+address+" takes calls, but nothing has answered for 3s: does rr serve hang?")
}
