package cluster

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/fnv"
)

// NodeID is the id of a node: the first 48 bits of the uuids of its connections.
type NodeID [6]byte

// String returns the id in 12 hexadecimal digits.
func (n NodeID) String() string { return hex.EncodeToString(n[:]) }

// newNodeID returns the id of a node with that name; a random one without.
func newNodeID(name string) (n NodeID) {
	if name == "" {
		mustRead(n[:])
		return n
	}
	sum := sha256.Sum256([]byte(name))
	copy(n[:], sum[:])
	return n
}

func newInstance() string {
	var b [8]byte
	mustRead(b[:])
	return hex.EncodeToString(b[:])
}

func mustRead(b []byte) {
	if _, err := rand.Read(b); err != nil {
		panic(err) // as package uuid does: the system has no random numbers
	}
}

// hashOf is what the subject of a tag has in its place.
func hashOf(tag string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(tag))
	return h.Sum64()
}

func hex64(n uint64) string { return hex.EncodeToString(binary.BigEndian.AppendUint64(nil, n)) }

// kind is what a message is.
type kind byte

const (
	kindHello   kind = iota + 1 // an Info in JSON
	kindBye                     // the node leaves: its instance, which version 0.9.0 leaves out
	kindAsk                     // a request
	kindAnswer                  // of the call that a kindAsk has
	kindRefused                 // in place of kindAnswer: the node does not do that, or knows no such version
)

// A message is "rr", the version, its kind, the node that sends it, the number of the call, and what the kind says. The header is
// the same in all versions: a node can refuse what it does not know.
const (
	version    = 1
	headerSize = 4 + len(NodeID{}) + 8
)

var magic = []byte("rr")

type header struct {
	version byte
	kind    kind
	from    NodeID
	call    uint64
}

func (c *Cluster) message(k kind, call uint64, body []byte) []byte {
	m := make([]byte, 0, headerSize+len(body))
	m = append(append(m, magic...), version, byte(k))
	m = binary.BigEndian.AppendUint64(append(m, c.node[:]...), call)
	return append(m, body...)
}

// parse returns the header of a message and what stands behind it; false: it is none of ours.
func parse(message []byte) (h header, body []byte, ok bool) {
	rest, ok := bytes.CutPrefix(message, magic)
	if !ok || len(message) < headerSize {
		return h, nil, false
	}
	h.version, h.kind = rest[0], kind(rest[1])
	rest = rest[2:]
	copy(h.from[:], rest)
	rest = rest[len(h.from):]
	h.call = binary.BigEndian.Uint64(rest)
	return h, rest[8:], true
}
