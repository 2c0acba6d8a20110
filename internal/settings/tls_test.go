package settings

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/certtest"
)

func TestTLSMistakesAreNamed(t *testing.T) {
	dir := t.TempDir()
	good, other := certtest.WritePair(t, dir, "good"), certtest.WritePair(t, dir, "other")
	text, none := filepath.Join(dir, "text"), filepath.Join(dir, "none")
	require.NoError(t, os.WriteFile(text, []byte("text"), 0o600))
	pair := func(p certtest.Pair) m { return m{"cert": p.Cert, "key": p.Key} }
	with := func(key string, value any) m { return m{"cert": good.Cert, "key": good.Key, key: value} }
	const at = "tcp.servers.a.tls"
	for _, test := range []struct {
		section any
		want    []string
	}{
		{nil, []string{": is empty; want keys of its own below it, or leave it out"}},
		{m{}, []string{".cert: is empty; want the path of a file in PEM", ".key: is empty; want the path of a file in PEM"}},
		{true, []string{`: "true" can't be read; want keys of its own`}},
		{with("cert", none), []string{".cert: open " + none}},
		{with("key", none), []string{".key: open " + none}},
		{with("cert", text), []string{".cert: " + text + " is no file in PEM"}},
		{with("cert", filepath.Dir(text)), []string{".cert: read " + filepath.Dir(text) + ": is a directory"}},
		{with("cert", good.Key), []string{".cert: holds no certificate in PEM"}},
		{with("key", good.Cert), []string{".key: tls: "}},
		{with("key", other.Key), []string{".key: tls: private key does not match public key; want the private key that belongs to cert"}},
		{with("root_ca", none), []string{".root_ca: open " + none}},
		{with("root_ca", good.Key), []string{".root_ca: " + good.Key + " holds no certificate in PEM"}},
		{with("certs", "x"), []string{`.certs: "x" can't be read; want a list, with keys of its own`}},
		{with("certs", []any{"x"}), []string{`.certs: "[x]" can't be read; want a list, with keys of its own`}},
		{with("certs", []any{m{"cert": good.Cert}}), []string{".certs.0.key: is empty"}},
		{
			with("certs", []any{pair(good), m{"cert": good.Cert, "key": other.Key}}),
			[]string{".certs.1.key: tls: private key does not match"},
		},
		{m{"certs": []any{pair(good), pair(other)}}, nil},
		{with("client_auth_type", "always"), []string{`.client_auth_type: unknown type "always"; want one of ["no_client_cert" `}},
		{with("client_auth_type", "verify_client_cert_if_given"), []string{".root_ca: is empty; verify_client_cert_if_given wants"}},
		{with("client_auth_type", "require_and_verify_client_cert"), []string{".root_ca: is empty; require_and_verify"}},
		{with("client_auth_type", "require_any_client_cert"), nil},
		{with("min_version", "1"), []string{`.min_version: unknown version "1"; want one of ["1.0" "1.1" "1.2" "1.3"], in quotes`}},
		{with("start", "later"), []string{`.start: unknown value "later"; want "tls" or "plain"`}},
		{with("start", "plain"), nil},
		{with("min_version", "ssl3"), []string{`.min_version: unknown version "ssl3"`}},
		{with("min_version", "1.1"), nil},
		{with("handshake_timeout", 10), []string{`.handshake_timeout: "10" can't be read; want a duration with its unit`}},
		{with("handshake_timeout", -time.Second), []string{".handshake_timeout: -1s is negative"}},
	} {
		lines, _ := load(withServer("tls", test.section))
		require.Len(t, lines, len(test.want), "%v", lines)
		for i, want := range test.want {
			require.Contains(t, lines[i], at+want)
		}
	}

	_, warnings := load(withServer("tls", with("certs", []any{m{"cert": good.Cert, "key": good.Key, "ca": "x"}})))
	require.Equal(t, []string{at + ".certs.0.ca: unknown key, ignored; the nearest known one is cert"}, warnings)
}

func TestClientAuthTypes(t *testing.T) {
	p := certtest.WritePair(t, t.TempDir(), "good")
	pair := KeyPair{p.Cert, p.Key}
	for name, want := range map[string]tls.ClientAuthType{
		"no_client_cert": tls.NoClientCert, "no_client_certs": tls.NoClientCert, "request_client_cert": tls.RequestClientCert,
		"require_any_client_cert": tls.RequireAnyClientCert, "verify_client_cert_if_given": tls.VerifyClientCertIfGiven,
		"require_and_verify_client_cert": tls.RequireAndVerifyClientCert, "": tls.RequireAndVerifyClientCert,
	} {
		section := TLS{KeyPair: pair, RootCA: pair.Cert, ClientAuthType: name}
		require.NoError(t, errors.Join(section.check("tls")...))
		require.Equal(t, want, section.Loaded().Config.ClientAuth, name)
		require.Equal(t, []string{pair.Cert, pair.Key, pair.Cert}, section.Files())
	}
	section := TLS{KeyPair: pair}
	require.NoError(t, errors.Join(section.check("tls")...))
	require.Equal(t, tls.NoClientCert, section.Loaded().Config.ClientAuth, "without root_ca no client is asked")
	require.Equal(t, uint16(tls.VersionTLS12), section.Loaded().Config.MinVersion)
	require.Equal(t, 10*time.Second, *section.HandshakeTimeout)
}

func TestTLSLoadReadsFiles(t *testing.T) {
	dir := t.TempDir()
	first, second := certtest.WritePair(t, dir, "first"), certtest.WritePair(t, dir, "second")
	section := TLS{
		KeyPair: KeyPair{first.Cert, first.Key}, Certs: []KeyPair{{second.Cert, second.Key}}, RootCA: second.Cert, MinVersion: "1.3",
	}
	require.NoError(t, errors.Join(section.check("tls")...))
	require.Equal(t, []string{first.Cert, first.Key, second.Cert, second.Key, second.Cert}, section.Files())
	loaded := section.Loaded()
	require.Equal(t, uint16(tls.VersionTLS13), loaded.Config.MinVersion)
	for i, name := range []string{"first", "second"} {
		require.Equal(t, name, loaded.Config.Certificates[i].Leaf.Subject.CommonName, "in the order of the configuration")
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(second.CertPEM)
	require.True(t, roots.Equal(loaded.Config.ClientCAs))

	again, errs := section.Load("tls")
	require.Empty(t, errs)
	require.Equal(t, loaded.Sum, again.Sum)
	require.NotSame(t, loaded.Config, again.Config)
	for _, name := range []string{"first", "second"} {
		before := again.Sum
		certtest.WritePair(t, dir, name)
		again, errs = section.Load("tls")
		require.Empty(t, errs)
		require.NotEqual(t, before, again.Sum, "the bytes of %s have changed", name)
	}
	require.Same(t, loaded, section.Loaded(), "Load changes nothing")
}

func TestTLSVersionName(t *testing.T) {
	for version, want := range map[uint16]string{tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3", tls.VersionTLS11: "1.1", tls.VersionTLS10: "1.0", 0: ""} {
		require.Equal(t, want, TLSVersionName(version))
	}
}
