// Command gateway is a worker for GPS trackers of Teltonika (Codec 8 over TCP). A tracker says who it is, a number of two
// bytes before it; from then on it sends records, with a length of four bytes, and now and then a byte FF alone, to keep the
// connection open. Who it is goes with the connection.
package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"regexp"

	"github.com/rrtcp/tcp/cmd/rr/worker"
)

func main() {
	if err := worker.Serve(answer); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

var ping = []byte{0xff}

var imei = regexp.MustCompile(`^\d{15}$`)

func answer(e worker.Event) (worker.Reply, error) {
	switch {
	case e.Event != worker.Data, bytes.Equal(e.Body, ping):
		return worker.Reply{Context: worker.Continue}, nil
	case e.State == "":
		return hello(string(e.Body[min(2, len(e.Body)):]))
	}

	records, err := count(e.Body)
	if err != nil {
		fmt.Fprintf(os.Stderr, "tracker %s: %s\n", e.State, err)
		return worker.Reply{Context: worker.Write, Body: make([]byte, 4)}, nil // none was taken: it sends them again
	}
	fmt.Fprintf(os.Stderr, "tracker %s: %d records\n", e.State, records)
	return worker.Reply{Context: worker.Write, Body: binary.BigEndian.AppendUint32(nil, uint32(records))}, nil
}

func hello(name string) (worker.Reply, error) {
	if !imei.MatchString(name) {
		return worker.Reply{Context: worker.WriteClose, Body: []byte{0}}, nil
	}
	return worker.Reply{Context: worker.Write, Body: []byte{1}, State: &name}, nil
}

var errPacket = errors.New("the packet is broken")

// count checks a packet (four zero bytes, the length of the data, the data, its CRC) and returns how many records it has.
func count(packet []byte) (int, error) {
	const head, tail, codec8 = 8, 4, 8
	if len(packet) < head+3+tail || binary.BigEndian.Uint32(packet) != 0 {
		return 0, errPacket
	}
	data := packet[head : len(packet)-tail]
	records := data[1]
	if data[0] != codec8 || data[len(data)-1] != records ||
		binary.BigEndian.Uint32(packet[len(packet)-tail:]) != uint32(crc16(data)) {
		return 0, errPacket
	}
	return int(records), nil
}

// crc16 is CRC-16/ARC.
func crc16(data []byte) (crc uint16) {
	for _, b := range data {
		crc ^= uint16(b)
		for range 8 {
			if crc&1 != 0 {
				crc = crc>>1 ^ 0xA001
			} else {
				crc >>= 1
			}
		}
	}
	return crc
}
