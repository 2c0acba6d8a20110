package program

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"testing"
	"time"

	rrerrors "github.com/roadrunner-server/errors"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

func TestBuiltinConfig(t *testing.T) {
	text, err := builtinConfig()
	require.NoError(t, err)
	var c struct {
		Server struct{ Command []string }
		RPC    struct{ Listen string }
		TCP    struct {
			Servers map[string]struct{ Addr string }
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &c))
	self, err := os.Executable()
	require.NoError(t, err)
	require.Equal(t, []string{self, "worker", "echo"}, c.Server.Command)
	require.Equal(t, "tcp://127.0.0.1:7777", c.TCP.Servers["echo"].Addr)
	require.Equal(t, "tcp://127.0.0.1:6001", c.RPC.Listen)
}

func TestParseArguments(t *testing.T) {
	a, err := parse([]string{"call", "-t", "1s", "x:1", "--", "-n"})
	require.NoError(t, err)
	require.Equal(t, arguments{within: time.Second, words: []string{"call", "x:1", "-n"}}, a)
	for flag, want := range map[string]string{
		"-t=0s": "-t: 0s is no time to wait; want a duration over zero, such as 10s", "-t=-1s": "-t: -1s is no time", "-t=10": "invalid value",
		"-n=-1": "-n: -1 is negative; want how often top prints", "-c": "needs an argument", "-x": "not defined",
	} {
		_, err := parse([]string{"call", "x:1", "y", flag})
		require.ErrorContains(t, err, want)
	}
}

func TestExplain(t *testing.T) {
	wrapped := rrerrors.E(rrerrors.Op("tcp_plugin_serve"), rrerrors.Serve, errors.New("tcp: listen smtp: in use"))
	tests := []struct {
		name string
		err  error
		text string
	}{
		{"an error of nobody's", errors.New("no"), "no"},
		{"operations and kinds are left out", wrapped, "tcp: listen smtp: in use"},
		{
			"the plugin is named where the message does not do it",
			rrerrors.E(rrerrors.Op("server_plugin_init"), rrerrors.Init, rrerrors.E(rrerrors.Op("x"), errors.New("no"))),
			"server: no",
		},
		{
			"an error of Serve, which Endure makes text",
			rrerrors.E(rrerrors.FunctionCall, rrerrors.Errorf(
				"serve error from the plugin %s stopping execution, error: %v", "*rpc.Plugin",
				rrerrors.E(rrerrors.Op("rpc_plugin_serve"), errors.New("in use")),
			)),
			"rpc: in use",
		},
		{"joined errors are one line", errors.Join(errors.New("a"), errors.New("b")), "a; b"},
		{
			"a list is one line",
			rrerrors.E(rrerrors.Op("tcp_plugin_init"), fmt.Errorf("tcp: 2 error(s) decoding:\n\n* 'a'\n* 'b'")),
			"tcp: 2 error(s) decoding: * 'a'; * 'b'",
		},
		{"a key that looks like an operation stays", errors.New("read_buf_size: want more"), "read_buf_size: want more"},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { require.Equal(t, tt.text, explain(tt.err)) })
	}
}

func TestRelease(t *testing.T) {
	tests := []struct {
		name    string
		info    *debug.BuildInfo
		release string
	}{
		{"nothing is known", nil, "dev"},
		{"a build without stamps", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "dev"},
		{"a tag", &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, "v1.2.3"},
		{"a commit", &debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}}}, "commit abc"},
		{"a commit and more", &debug.BuildInfo{Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"},
		}}, "commit abc, modified"},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { require.Equal(t, tt.release, release(tt.info)) })
	}
}
