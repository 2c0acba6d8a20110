package framing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"time"
)

// next is the object "next" of a reply: the framing of what the connection sends from now on.
type next struct {
	Packets
	Delimiter    *string `json:"delimiter"` // shadows that of Packets: an empty one is an error here
	DelimiterHex *string `json:"delimiter_hex"`
	Wait         *string `json:"delimiter_wait"`
	Once         bool    `json:"once"` // for one packet; then comes the server's own framing
}

// DecodeNext decodes raw, the value of "next" in a reply, which must not be null. readSize and maxPacketSize are those of
// Packets.New. once reports that the framing is for one packet only. An error names the key that it is about.
func DecodeNext(raw []byte, readSize, maxPacketSize int) (f Framing, once bool, err error) {
	var n *next
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&n); err != nil {
		return Framing{}, false, decodeError(err)
	}
	if n == nil {
		return Framing{}, false, errors.New("next: is null; want an object, or leave it out")
	}
	if err := n.checkRules(raw); err != nil {
		return Framing{}, false, err
	}
	n.MarkSet(n.keys(raw))
	if err := n.init(maxPacketSize); err != nil {
		return Framing{}, false, err
	}
	return n.New(readSize, maxPacketSize), n.Once, nil
}

// keys returns those that are set. A framing for one packet has no batches, whatever its protocol.
func (n *next) keys(raw []byte) (keys []string) {
	var all map[string]json.RawMessage
	_ = json.Unmarshal(raw, &all) // it is an object
	for key := range all {
		keys = append(keys, strings.ToLower(key)) // package json takes any case
	}
	if n.Once {
		keys = append(keys, "batch")
	}
	return keys
}

// listIndex is what Go 1.27 adds to the field of an error: rules.0.starts. Older ones say rules.starts.
var listIndex = regexp.MustCompile(`\.\d+`)

// decodeError rewrites an error of encoding/json for the log.
func decodeError(err error) error {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	key := "next"
	// What Digits.UnmarshalJSON returns has no field from Go 1.27 on.
	if wrong.Field == "" && wrong.Type == reflect.TypeFor[int]() {
		key += ".length.ascii"
	}
	field := listIndex.ReplaceAllString(strings.ReplaceAll(wrong.Field, "Packets.", ""), "") // Packets is embedded
	if field != "" {
		key += "." + strings.ToLower(field)
	}
	return fmt.Errorf("%s: a %s can't be read; docs/worker.md has what can", key, wrong.Value)
}

// checkEmpty finds delimiters of an object that are set, but empty.
func checkEmpty(key string, delimiter, delimiterHex *string) error {
	switch {
	case delimiter != nil && *delimiter == "":
		return fmt.Errorf(`%s.delimiter: is empty; want the bytes that end a packet, such as "\r\n"`, key)
	case delimiterHex != nil && *delimiterHex == "":
		return fmt.Errorf(`%s.delimiter_hex: is empty; want the bytes that end a packet, such as "0d0a"`, key)
	}
	return nil
}

// checkRules is checkEmpty for all rules: in a Rule an empty delimiter could not be told from one that is not set.
func (n *next) checkRules(raw []byte) error {
	if n.Rules == nil {
		return nil
	}
	var set struct {
		Rules []struct {
			Delimiter    *string
			DelimiterHex *string `json:"delimiter_hex"`
		}
	}
	_ = json.Unmarshal(raw, &set) // which DecodeNext has done
	for i, r := range set.Rules {
		if err := checkEmpty(fmt.Sprintf("next.rules.%d", i), r.Delimiter, r.DelimiterHex); err != nil {
			return err
		}
	}
	return nil
}

func (n *next) init(maxPacketSize int) error {
	if err := checkEmpty("next", n.Delimiter, n.DelimiterHex); err != nil {
		return err
	}
	if n.Once && n.Batch {
		return errors.New("next.batch: stands beside once, which is one packet; leave one of them out")
	}
	if n.Delimiter != nil {
		n.Packets.Delimiter = *n.Delimiter
	}
	if n.DelimiterHex != nil {
		n.Packets.DelimiterHex = *n.DelimiterHex
	}
	if n.Wait != nil {
		wait, err := time.ParseDuration(*n.Wait)
		if err != nil {
			return fmt.Errorf("next.delimiter_wait: %q can't be read; want a duration with its unit, such as \"20ms\"", *n.Wait)
		}
		n.DelimiterWait = &wait
	}
	return errors.Join(n.Init("next", maxPacketSize)...)
}
