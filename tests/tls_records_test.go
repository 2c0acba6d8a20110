package tests

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// unfinishedMessage returns records of TLS 1.3 with all of a message of size bytes but its last byte, as package tls would never
// send it behind its handshake. keys is what it has logged of that; the cipher is TLS_AES_128_GCM_SHA256.
func unfinishedMessage(keys string, size int) (records []byte) {
	const certificate, handshake, data, most = 11, 22, 23, 16 << 10
	_, line, _ := strings.Cut(keys, "CLIENT_TRAFFIC_SECRET_0 ")
	secret, _ := hex.DecodeString(strings.Fields(line)[1])
	block, _ := aes.NewCipher(expandLabel(secret, "key", 16))
	aead, _ := cipher.NewGCM(block)
	iv := expandLabel(secret, "iv", aead.NonceSize())

	message := make([]byte, size-1)
	binary.BigEndian.PutUint32(message, uint32(certificate<<24|size-4))
	for number := uint64(0); len(message) > 0; number++ {
		some := message[:min(len(message), most)]
		message = message[len(some):]
		header := binary.BigEndian.AppendUint16([]byte{data, 3, 3}, uint16(len(some)+1+aead.Overhead()))
		nonce := bytes.Clone(iv)
		for i := range 8 {
			nonce[len(nonce)-1-i] ^= byte(number >> (8 * i))
		}
		records = append(records, aead.Seal(bytes.Clone(header), nonce, append(bytes.Clone(some), handshake), header)...)
	}
	return records
}

// expandLabel is HKDF-Expand-Label of RFC 8446 for a result of one block.
func expandLabel(secret []byte, label string, size int) []byte {
	h := hmac.New(sha256.New, secret)
	fmt.Fprintf(h, "\x00%c%ctls13 %s\x00\x01", rune(size), rune(len("tls13 "+label)), label)
	return h.Sum(nil)[:size]
}
