package streamtest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// Types of TLS messages, as RFC 8446 numbers them.
const (
	certificateMessage = 11
	keyUpdateMessage   = 24
	handshakeRecord    = 22
	dataRecord         = 23
)

const (
	maxRecord    = 16 << 10 // bytes of a record before encryption
	recordHeader = 5
	gcmOverhead  = 16
)

// Records encrypts what a TLS 1.3 client sends behind its handshake, where package tls would not send that.
type Records struct {
	aead cipher.AEAD
	iv   []byte
	sent uint64 // records
}

// KeyLog makes a client write down its keys for NewRecords, and agree on the only cipher that it knows.
func KeyLog(config *tls.Config) (logged *bytes.Buffer) {
	logged = new(bytes.Buffer)
	config.KeyLogWriter, config.MinVersion = logged, tls.VersionTLS13
	return logged
}

// NewRecords returns the Records of a client that has made its handshake and sent nothing since.
func NewRecords(client *tls.Conn, logged *bytes.Buffer) *Records {
	if suite := client.ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
		panic(tls.CipherSuiteName(suite))
	}
	var secret []byte
	for _, line := range strings.Split(logged.String(), "\n") {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "CLIENT_TRAFFIC_SECRET_0" {
			secret, _ = hex.DecodeString(f[2])
		}
	}
	block, err := aes.NewCipher(expandLabel(secret, "key", 16))
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return &Records{aead: aead, iv: expandLabel(secret, "iv", aead.NonceSize())}
}

// expandLabel is HKDF-Expand-Label of RFC 8446 for a result of one block.
func expandLabel(secret []byte, label string, size int) []byte {
	info := fmt.Sprintf("\x00%c%ctls13 %s\x00\x01", rune(size), rune(len("tls13 "+label)), label)
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(info))
	return h.Sum(nil)[:size]
}

// Data returns a record with data.
func (r *Records) Data(b []byte) []byte { return r.seal(dataRecord, b) }

// KeyUpdate returns a record with a whole message that carries no data.
func (r *Records) KeyUpdate() []byte {
	return r.seal(handshakeRecord, []byte{keyUpdateMessage, 0, 0, 1, 0})
}

// Unfinished returns records with the first n bytes of a handshake message that announces one more.
func (r *Records) Unfinished(n int) (records []byte) {
	message := make([]byte, n)
	binary.BigEndian.PutUint32(message, certificateMessage<<24|uint32(n+1-4))
	for len(message) > 0 {
		some := min(len(message), maxRecord)
		records = append(records, r.seal(handshakeRecord, message[:some])...)
		message = message[some:]
	}
	return records
}

func (r *Records) seal(kind byte, b []byte) []byte {
	header := make([]byte, recordHeader)
	header[0] = dataRecord
	binary.BigEndian.PutUint16(header[1:], tls.VersionTLS12)
	binary.BigEndian.PutUint16(header[3:], uint16(len(b)+1+gcmOverhead))
	nonce := bytes.Clone(r.iv)
	for i := range 8 {
		nonce[len(nonce)-1-i] ^= byte(r.sent >> (8 * i))
	}
	r.sent++
	return r.aead.Seal(bytes.Clone(header), nonce, append(bytes.Clone(b), kind), header)
}

// LargeHello makes a client's first message larger by about n bytes, 60,000 at most.
func LargeHello(config *tls.Config, n int) {
	for ; n > 0; n -= 256 {
		config.NextProtos = append(config.NextProtos, strings.Repeat("x", 255))
	}
}
