package settings

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"os"
)

// pemReader reads files in PEM. It collects the errors, each of which begins with the key of its file, and sums up the bytes.
type pemReader struct {
	errs []error
	sum  hash.Hash
}

func newPEMReader() *pemReader { return &pemReader{sum: sha256.New()} }

// read returns nil for a file that can't be used.
func (r *pemReader) read(key, file string) []byte {
	b, err := readPEM(file)
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("%s: %w", key, err))
	}
	fmt.Fprintf(r.sum, "%d %s", len(b), b)
	return b
}

func readPEM(file string) ([]byte, error) {
	if file == "" {
		return nil, errors.New("is empty; want the path of a file in PEM")
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err // a folder is read as no bytes
	}
	if !bytes.Contains(b, []byte("-----BEGIN ")) {
		return nil, fmt.Errorf("%s is no file in PEM", file)
	}
	return b, nil
}

// authorities reads the certificates of a file; nil: none is named.
func (r *pemReader) authorities(key, file string) *x509.CertPool {
	if file == "" {
		return nil
	}
	pool := x509.NewCertPool()
	if b := r.read(key, file); b != nil && !pool.AppendCertsFromPEM(b) {
		r.errs = append(r.errs, fmt.Errorf("%s: %s holds no certificate in PEM", key, file))
	}
	return pool
}

// certificate reads a pair of files; ok is false where one of them can't be used.
func (r *pemReader) certificate(key string, pair KeyPair) (cert tls.Certificate, ok bool) {
	certPEM, keyPEM := r.read(key+".cert", pair.Cert), r.read(key+".key", pair.Key)
	if certPEM == nil || keyPEM == nil {
		return cert, false
	}
	cert, err := parsePair(certPEM, keyPEM)
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("%s.%w", key, err))
	}
	return cert, err == nil
}

// parsePair's errors begin with the last part of the key that they are about.
func parsePair(certPEM, keyPEM []byte) (tls.Certificate, error) {
	leaf, err := parseLeaf(certPEM)
	if err != nil {
		return tls.Certificate{}, err
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("key: %w; want the private key that belongs to cert, not encrypted", err)
	}
	cert.Leaf = leaf
	return cert, nil
}

// parseLeaf parses the first certificate of a file.
func parseLeaf(certPEM []byte) (*x509.Certificate, error) {
	for rest := certPEM; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("cert: holds no certificate in PEM")
		}
		if block.Type == "CERTIFICATE" {
			leaf, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("cert: %w", err)
			}
			return leaf, nil
		}
	}
}
