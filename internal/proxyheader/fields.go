package proxyheader

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"hash/crc32"
	"unicode/utf8"

	"github.com/pires/go-proxyproto"
)

// Info is what a proxy tells besides the client's address: the key proxy of CONNECTED. Texts come from the proxy, which is
// trusted, but may be what its client has sent, as Authority is.
type Info struct {
	Destination string `json:"destination,omitempty"` // where the client has connected to
	Authority   string `json:"authority,omitempty"`   // the server name (SNI)
	ALPN        string `json:"alpn,omitempty"`
	UniqueID    string `json:"unique_id,omitempty"` // in hexadecimal digits where it is no text
	TLS         *TLS   `json:"tls,omitempty"`       // between client and proxy
	Namespace   string `json:"netns,omitempty"`
	AWSEndpoint string `json:"aws_vpce_id,omitempty"`
	AzureLink   uint32 `json:"azure_link_id,omitempty"`
	GCPEndpoint uint64 `json:"gcp_psc_id,omitempty"`
}

// TLS is what a proxy tells of its client's TLS.
type TLS struct {
	Version  string `json:"version,omitempty"`
	Cipher   string `json:"cipher,omitempty"`
	ClientCN string `json:"client_cn,omitempty"` // of the client's certificate
	Verified bool   `json:"verified"`            // the client has a certificate, and the proxy has verified it
}

// Fields of other companies, as their documents have them.
const (
	fieldGCP       = 0xe0
	fieldAWS       = 0xea
	fieldAzure     = 0xee
	subtypeAWSVPCE = 0x01
	subtypeAzure   = 0x01
)

// field is a TLV of a header of version 2; at is where its value begins.
type field struct {
	kind  proxyproto.PP2Type
	at    int
	value []byte
}

// fieldsFrom returns the fields of b from a byte on, up to one that can't be read; then isWhole is false.
func fieldsFrom(b []byte, at int) (fields []field, isWhole bool) {
	const typeAndLength = 3
	for at < len(b) {
		if len(b)-at < typeAndLength {
			return fields, false
		}
		kind, size := proxyproto.PP2Type(b[at]), int(binary.BigEndian.Uint16(b[at+1:]))
		at += typeAndLength
		if size > len(b)-at {
			return fields, false
		}
		fields = append(fields, field{kind, at, b[at : at+size]})
		at += size
	}
	return fields, true
}

// isChecksumRight reports whether the CRC32c of a header of version 2 is right. Many have none.
func isChecksumRight(header []byte, fields []field) bool {
	for _, f := range fields {
		if f.kind == proxyproto.PP2_TYPE_CRC32C {
			return len(f.value) == crc32.Size && binary.BigEndian.Uint32(f.value) == checksumAround(header, f.at)
		}
	}
	return true
}

// checksumAround returns the CRC32c of a header as if its checksum, which begins at that byte, were zero.
func checksumAround(header []byte, at int) uint32 {
	zeroed := bytes.Clone(header)
	clear(zeroed[at : at+crc32.Size])
	return crc32.Checksum(zeroed, crc32.MakeTable(crc32.Castagnoli))
}

// add adds what fields tell.
func (p *Info) add(fields []field) {
	for _, f := range fields {
		switch f.kind {
		case proxyproto.PP2_TYPE_AUTHORITY:
			p.Authority = string(f.value)
		case proxyproto.PP2_TYPE_ALPN:
			p.ALPN = string(f.value)
		case proxyproto.PP2_TYPE_UNIQUE_ID:
			p.UniqueID = textOrHex(f.value)
		case proxyproto.PP2_TYPE_NETNS:
			p.Namespace = string(f.value)
		case proxyproto.PP2_TYPE_SSL:
			p.TLS = parseTLS(f.value)
		case fieldAWS:
			if len(f.value) > 1 && f.value[0] == subtypeAWSVPCE {
				p.AWSEndpoint = string(f.value[1:])
			}
		case fieldAzure:
			if len(f.value) == 5 && f.value[0] == subtypeAzure {
				p.AzureLink = binary.LittleEndian.Uint32(f.value[1:])
			}
		case fieldGCP:
			if len(f.value) == 8 {
				p.GCPEndpoint = binary.BigEndian.Uint64(f.value)
			}
		}
	}
}

// parseTLS returns nil where the client has none. Its fields are behind a byte of flags and the result of the verification, 0
// where it was successful.
func parseTLS(value []byte) *TLS {
	const (
		hasTLS, hasCertificate, hadCertificate = 0x01, 0x02, 0x04 // the last one in the session
		head                                   = 5
	)
	if len(value) < head || value[0]&hasTLS == 0 {
		return nil
	}
	t := &TLS{Verified: value[0]&(hasCertificate|hadCertificate) != 0 && binary.BigEndian.Uint32(value[1:]) == 0}
	fields, isWhole := fieldsFrom(value, head)
	if !isWhole {
		return t
	}
	for _, f := range fields {
		switch f.kind {
		case proxyproto.PP2_SUBTYPE_SSL_VERSION:
			t.Version = string(f.value)
		case proxyproto.PP2_SUBTYPE_SSL_CIPHER:
			t.Cipher = string(f.value)
		case proxyproto.PP2_SUBTYPE_SSL_CN:
			t.ClientCN = string(f.value)
		}
	}
	return t
}

func textOrHex(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return hex.EncodeToString(b)
}

// JSON returns the key proxy of CONNECTED; nil where there is nothing to tell.
func (p *Info) JSON() []byte {
	if p == nil || *p == (Info{}) {
		return nil
	}
	b, _ := json.Marshal(p) // strings and numbers can't fail
	return b
}
