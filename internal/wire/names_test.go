package wire

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEventNames(t *testing.T) {
	require.Equal(t, []string{"CONNECTED", "DATA", "CLOSE"}, []string{Connected.String(), Data.String(), Close.String()})
}

func TestParseEvents(t *testing.T) {
	for _, test := range []struct {
		names []string
		want  DisabledEvents
	}{
		{nil, DisabledEvents{}},
		{[]string{}, DisabledEvents{Connected: true, Close: true}},
		{[]string{"DATA"}, DisabledEvents{Connected: true, Close: true}},
		{[]string{"CONNECTED"}, DisabledEvents{Close: true}},
		{[]string{"CLOSE", "DATA"}, DisabledEvents{Connected: true}},
		{[]string{"CLOSED"}, DisabledEvents{Connected: true}},
		{[]string{"CLOSED", "CONNECTED", "CONNECTED"}, DisabledEvents{}},
	} {
		got, err := ParseEvents(test.names)
		require.NoError(t, err, test.names)
		require.Equal(t, test.want, got, test.names)
	}
	for _, name := range []string{"", "close", "OPENED", "CLOSE "} {
		_, err := ParseEvents([]string{"DATA", name})
		require.ErrorContains(t, err, "want a list of CONNECTED, DATA and CLOSE", name)
	}
}

func TestStateNames(t *testing.T) {
	for state, want := range map[State]struct {
		name  string
		event Event
	}{Opening: {"opening", Connected}, Reading: {"reading", Data}, Replying: {"replying", Data}, Closing: {"closing", Data}} {
		require.Equal(t, want.name, state.String())
		require.Equal(t, want.event, state.Event(), want.name)
	}
}

func TestReasonKinds(t *testing.T) {
	faults := map[Reason]bool{ReasonReply: true, ReasonError: true}
	limits := map[Reason]bool{ReasonIdle: true, ReasonSlow: true, ReasonTooLong: true, ReasonMemory: true, ReasonFraming: true}
	for r := range Reason(NumReasons) {
		require.Equal(t, faults[r], r.IsFault(), r)
		require.Equal(t, limits[r], r.IsLimit(), r)
	}
}

func TestContextState(t *testing.T) {
	plain := NewContexts("@", "s", "u", DialectReleased)
	require.Zero(t, plain.StateSize())
	c := plain.WithState("a \"b\"\n")
	require.Equal(t, 2*len(`,"state":"a \"b\"\n"`), c.StateSize())
	for name, context := range map[string][]byte{
		"CONNECTED": c.Connected(Beginning{LocalAddr: "x", TLS: []byte(`{"version":"1.3"}`)}), "DATA": c.Data(), "tail": c.Tail(), "CLOSE": c.Closed(Ending{}),
	} {
		var m map[string]any
		require.NoError(t, json.Unmarshal(context, &m), name)
		require.Equal(t, "a \"b\"\n", m["state"], name)
		require.Equal(t, name == "CONNECTED", m["tls"] != nil, name)
	}
	none := c.WithState("")
	require.Equal(t, string(plain.Data()), string(none.Data()), "the empty state is none")
}

func TestTags(t *testing.T) {
	require.NoError(t, CheckTags("tags", nil))
	require.NoError(t, CheckTags("tags", []string{"a", strings.Repeat("x", MaxTagSize)}))
	require.EqualError(t, CheckTags("tags", []string{"a", ""}), "tags[1]: has 0 bytes; want 1 to 128")
	require.EqualError(t, CheckTags("tags", []string{strings.Repeat("x", MaxTagSize+1)}), "tags[0]: has 129 bytes; want 1 to 128")
	var many []string
	for i := range MaxTags + 1 {
		many = append(many, strings.Repeat("x", i+1))
	}
	require.NoError(t, CheckTags("tags", append(many[:MaxTags:MaxTags], "x", "xx")), "the same tag is counted once")
	require.EqualError(t, CheckTags("tags", []string{"\xc3\xa4", "\xc3"}), "tags[1]: is not UTF-8")
	require.EqualError(t, CheckTags("tags", many), "tags: are 33; want 32 at most")

	given := []string{"b", "a", "b"}
	require.Equal(t, []string{"a", "b"}, DistinctTags(given))
	require.Equal(t, []string{"b", "a", "b"}, given, "it is a copy")
}
