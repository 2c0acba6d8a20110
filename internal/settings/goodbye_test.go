package settings

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/wire"
)

func TestGoodbye(t *testing.T) {
	s := &Server{Addr: ":0", Goodbye: &Goodbye{
		Idle: "1", SlowHex: "02", TooLong: "3", FramingHex: "04 ff", Memory: "5", Overload: "6", Error: "7", Shutdown: "8",
	}}
	_, err := checked(s)
	require.NoError(t, err)
	require.Equal(t, map[wire.Reason][]byte{
		wire.ReasonIdle: []byte("1"), wire.ReasonSlow: {2}, wire.ReasonTooLong: []byte("3"), wire.ReasonFraming: {4, 0xff},
		wire.ReasonMemory: []byte("5"), wire.ReasonOverload: []byte("6"), wire.ReasonError: []byte("7"), wire.ReasonReply: []byte("7"),
		wire.ReasonShutdown: []byte("8"),
	}, s.Effective().Goodbye)
}

func TestGoodbyeMistakes(t *testing.T) {
	const at = "tcp.servers.a.goodbye"
	for _, test := range []struct {
		section any
		want    []string
	}{
		{nil, []string{": is empty; want keys of its own below it, or leave it out"}},
		{m{}, []string{`: is empty; want last words by the reason, such as idle: "421 timeout\r\n"`}},
		{"421", []string{`: "421" can't be read; want keys of its own`}},
		{m{"idle": ""}, []string{`.idle: is empty; want bytes`}},
		{m{"idle": 421, "slow": "x"}, []string{`.idle: 421 is a number; for its digits put it in quotes: "421"`}},
		{m{"idle": 4, "slow": "x"}, []string{`.idle: 4 is a number; for the byte 0x04 write idle_hex: "04"`}},
		{m{"framing": true, "slow": "x"}, []string{`.framing: "true" can't be read; want a text`}},
		{m{"idle": "\u00ff"}, []string{`.idle: "\u00ff" is the bytes c3bf`}},
		{m{"idle": "x", "idle_hex": "04"}, []string{`.idle_hex: stands beside idle`}},
		{m{"too_long_hex": "4"}, []string{`.too_long_hex: "4" can't be read; want two hexadecimal digits`}},
		{m{"shutdown_hex": 10, "slow": "x"}, []string{`.shutdown_hex: 10 is a number, and YAML`}},
		{m{"overload": strings.Repeat("x", 513)}, []string{`.overload: has 513 bytes; want 512 at most`}},
		{m{"overload": strings.Repeat("x", 512)}, nil},
		{m{"idle_hex": strings.Repeat("04", 513)}, []string{`.idle_hex: has 513 bytes; want 512 at most`}},
	} {
		lines, _ := load(withServer("goodbye", test.section))
		require.Len(t, lines, len(test.want), "%v", lines)
		for i, want := range test.want {
			require.Contains(t, lines[i], at+want)
		}
	}
	_, warnings := load(withServer("goodbye", m{"idle": `421 timeout\r\n`, "rpc": "x"}))
	require.Len(t, warnings, 2)
	require.Contains(t, warnings[0], at+".rpc: unknown key, ignored")
	require.Contains(t, warnings[1], at+`.idle: is the 15 characters 421 timeout\r\n, a backslash among them`)
}
