package worker

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/roadrunner-server/goridge/v3/pkg/frame"
	"github.com/roadrunner-server/goridge/v3/pkg/pipe"
	"github.com/stretchr/testify/require"
)

const threeEvents = `{"event":"BULK","events":[{"uuid":"a","event":"CONNECTED"},{"uuid":"b","event":"DATA","state":"s"},` +
	`{"uuid":"c","event":"DATA"}],"sizes":[0,4,2]}`

// frames reads what a worker has written: the stream flag of each frame, its context and its body.
func frames(t *testing.T, written []byte) (streams []bool, contexts, bodies []string) {
	t.Helper()
	relay := pipe.NewPipeRelay(io.NopCloser(bytes.NewReader(written)), nil)
	for {
		f := frame.NewFrame()
		err := relay.Receive(f)
		if errors.Is(err, io.EOF) {
			return streams, contexts, bodies
		}
		require.NoError(t, err)
		n := f.ReadOptions(f.Header())[0]
		streams = append(streams, f.Header()[10]&frame.STREAM != 0)
		contexts = append(contexts, string(f.Payload()[:n]))
		bodies = append(bodies, string(f.Payload()[n:]))
	}
}

func TestServeBulk(t *testing.T) {
	stderr := os.Stderr
	t.Cleanup(func() { os.Stderr = stderr })
	os.Stderr = file(t, "")
	w, out := start(t, request(threeEvents, "onetwo"))
	var seen []string
	require.NoError(t, w.Serve(func(e Event) (Reply, error) {
		seen = append(seen, e.UUID+" "+e.Event+" "+e.State+" "+string(e.Body))
		switch e.UUID {
		case "a":
			return Reply{Context: Continue}, nil
		case "b":
			return Reply{}, errors.New("no database")
		default:
			time.Sleep(maxBulkWait) // slow, but the last
			return Reply{Context: Write, Body: e.Body, Tags: []string{"x"}}, nil
		}
	}))
	require.Equal(t, []string{"a CONNECTED  ", "b DATA s onet", "c DATA  wo"}, seen)
	require.Equal(t, "worker: b DATA: no database\n", string(content(t, os.Stderr)))
	_, contexts, bodies := frames(t, out())
	var all BulkReplies
	for _, c := range contexts {
		var r BulkReplies
		require.NoError(t, json.Unmarshal([]byte(c), &r))
		require.NotEmpty(t, r.Replies, "RoadRunner refuses a frame without any")
		all.Replies, all.Sizes = append(all.Replies, r.Replies...), append(all.Sizes, r.Sizes...)
	}
	require.Equal(t, []int{0, 0, 2}, all.Sizes)
	require.Equal(t, "wo", strings.Join(bodies, ""))
	for i, want := range []string{
		`{"reply":"CONTINUE","uuid":"a"}`, `{"reply":"CLOSE","uuid":"b"}`, `{"reply":"WRITE","tags":["x"],"uuid":"c"}`,
	} {
		require.Equal(t, want, string(all.Replies[i]))
	}
}

func TestSlowEventOfABulkHoldsUpThoseBehindIt(t *testing.T) {
	w, out := start(t, request(threeEvents, "onetwo"))
	require.NoError(t, w.Serve(func(e Event) (Reply, error) {
		if e.UUID == "b" {
			time.Sleep(maxBulkWait + time.Millisecond)
		}
		return Reply{Context: Continue}, nil
	}))
	streams, contexts, _ := frames(t, out())
	require.False(t, streams[len(streams)-1])
	require.True(t, streams[len(streams)-2])
	require.Equal(t, `{"replies":[{"reply":"CONTINUE","uuid":"c"}],"sizes":[0]}`, contexts[len(contexts)-1])
}

func TestManyBytesOfABulkDoNotWaitForTheRest(t *testing.T) {
	many := []byte(long[:maxBulkBytes+1])
	w, out := start(t, request(threeEvents, "onetwo"))
	require.NoError(t, w.Serve(func(e Event) (Reply, error) {
		if e.UUID == "a" {
			return Reply{Context: Write, Body: many}, nil
		}
		return Reply{Context: Continue}, nil
	}))
	streams, contexts, bodies := frames(t, out())
	require.True(t, streams[0])
	require.Equal(t, `{"replies":[{"reply":"WRITE","uuid":"a"}],"sizes":[1048577]}`, contexts[0])
	require.Equal(t, string(many), bodies[0])
}

func TestBulkThatIsNone(t *testing.T) {
	for context, want := range map[string]string{
		`{"event":"BULK"}`: "0 events and 0 sizes",
		`{"event":"BULK","events":[{}],"sizes":[1,2]}`:          "1 events and 2 sizes",
		`{"event":"BULK","events":[{}],"sizes":[4]}`:            "do not add up",
		`{"event":"BULK","events":[{}],"sizes":[2]}`:            "do not add up",
		`{"event":"BULK","events":[{},{}],"sizes":[-1,4]}`:      "do not add up",
		`{"event":"BULK","events":[{"uuid":1}],"sizes":[3]}`:    "cannot unmarshal",
		`{"event":"BULK","events":[{"uuid":""}],"sizes":["3"]}`: "cannot unmarshal",
	} {
		w, out := start(t, request(context, "abc")+"\n"+data("x"))
		require.NoError(t, w.Serve(echo))
		written := out()
		require.Contains(t, string(written), want)
		require.True(t, bytes.HasSuffix(written, []byte("WRITEx")), "the worker goes on")
	}
}
