package wire

import "encoding/binary"

// AppendHead appends the head of a message and, before it, the head's length as a varint. The body of the message goes behind it.
func AppendHead(b, head []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(head))), head...)
}

// CutHead returns the head of a message and the body, both as parts of it; false where what stands there is no head.
func CutHead(message []byte) (head, body []byte, ok bool) {
	size, n := binary.Uvarint(message)
	if n <= 0 || size > uint64(len(message)-n) {
		return nil, nil, false
	}
	end := n + int(size) // it is less than len(message)
	return message[n:end], message[end:], true
}
