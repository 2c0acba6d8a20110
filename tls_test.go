//go:build go1.25

package tcp

import (
	"bytes"
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestMistakesInTLSAndProxyProtocolAreNamed(t *testing.T) {
	dir := t.TempDir()
	good, _ := writePair(t, dir, "good")
	other, _ := writePair(t, dir, "other")
	text, none := filepath.Join(dir, "text"), filepath.Join(dir, "none")
	require.NoError(t, os.WriteFile(text, []byte("text"), 0o600))
	server := func(key string, value any) m { return m{"servers": m{"a": m{"addr": ":0", key: value}}} }
	with := func(key string, value any) m {
		return server("tls", m{"cert": good.Cert, "key": good.Key, key: value})
	}
	const at = "tcp.servers.a."
	for _, test := range []struct {
		section m
		want    []string
	}{
		{server("tls", nil), []string{at + "tls: is empty; want keys of its own below it, or leave it out"}},
		{server("tls", m{}), []string{at + "tls.cert: is empty; want the path", at + "tls.key: is empty; want the path"}},
		{server("tls", true), []string{at + `tls: "true" can't be read; want keys of its own`}},
		{with("cert", none), []string{at + "tls.cert: open " + none}},
		{with("key", none), []string{at + "tls.key: open " + none}},
		{with("cert", text), []string{at + "tls.cert: " + text + " is no file in PEM"}},
		{with("cert", good.Key), []string{at + "tls.cert: holds no certificate in PEM"}},
		{with("key", good.Cert), []string{at + "tls.key: tls: "}},
		{with("key", other.Key), []string{at + "tls.key: tls: private key does not match public key; want the private key that"}},
		{with("root_ca", none), []string{at + "tls.root_ca: open " + none}},
		{with("root_ca", good.Key), []string{at + "tls.root_ca: " + good.Key + " holds no certificate in PEM"}},
		{with("certs", "x"), []string{at + `tls.certs: "x" can't be read; want a list, with keys of its own`}},
		{with("certs", []any{"x"}), []string{at + `tls.certs: "[x]" can't be read; want a list, with keys of its own`}},
		{with("certs", []any{m{"cert": good.Cert}}), []string{at + "tls.certs.0.key: is empty"}},
		{
			with("certs", []any{m{"cert": good.Cert, "key": good.Key}, m{"cert": good.Cert, "key": other.Key}}),
			[]string{at + "tls.certs.1.key: tls: private key does not match"},
		},
		{with("client_auth_type", "always"), []string{at + `tls.client_auth_type: unknown type "always"; want one of ["no_client_cert" `}},
		{with("client_auth_type", "verify_client_cert_if_given"), []string{at + "tls.root_ca: is empty; verify_client_cert_if_given wants"}},
		{with("client_auth_type", "require_and_verify_client_cert"), []string{at + "tls.root_ca: is empty; require_and_verify"}},
		{with("min_version", "1.1"), []string{at + `tls.min_version: unknown version "1.1"; want one of ["1.2" "1.3"]`}},
		{with("handshake_timeout", 10), []string{at + `tls.handshake_timeout: "10" can't be read; want a duration with its unit`}},
		{with("handshake_timeout", -time.Second), []string{at + "tls.handshake_timeout: -1s is negative"}},
		{server("proxy_protocol", nil), []string{at + "proxy_protocol: is empty"}},
		{server("proxy_protocol", m{}), []string{at + `proxy_protocol.trusted: is empty; name the addresses of your proxies`}},
		{
			server("proxy_protocol", m{"trusted": []any{"10.0.0.0/33", "::1", "proxy.local"}, "timeout": -time.Second}),
			[]string{
				at + "proxy_protocol.timeout: -1s is negative", at + `proxy_protocol.trusted: "10.0.0.0/33" is no address; want such as`,
				at + `proxy_protocol.trusted: "proxy.local" is no address`,
			},
		},
	} {
		lines, _ := loaded(test.section)
		require.Len(t, lines, len(test.want), "%v", lines)
		for i, want := range test.want {
			require.Contains(t, lines[i], want)
		}
	}

	_, warnings := loaded(with("certs", []any{m{"cert": good.Cert, "key": good.Key, "ca": "x"}}))
	require.Equal(t, []string{at + "tls.certs.0.ca: unknown key, ignored; the nearest known one is cert"}, warnings)
}

func TestClientAuthTypes(t *testing.T) {
	pair, _ := writePair(t, t.TempDir(), "good")
	for name, want := range map[string]tls.ClientAuthType{
		"no_client_cert": tls.NoClientCert, "no_client_certs": tls.NoClientCert, "request_client_cert": tls.RequestClientCert,
		"require_any_client_cert": tls.RequireAnyClientCert, "verify_client_cert_if_given": tls.VerifyClientCertIfGiven,
		"require_and_verify_client_cert": tls.RequireAndVerifyClientCert, "": tls.RequireAndVerifyClientCert,
	} {
		section := TLS{KeyPair: pair, RootCA: pair.Cert, ClientAuthType: name}
		for _, err := range section.init("tls") {
			require.NoError(t, err)
		}
		require.Equal(t, want, section.loaded.config.ClientAuth, name)
	}
	section := TLS{KeyPair: pair}
	section.init("tls")
	require.Equal(t, tls.NoClientCert, section.loaded.config.ClientAuth, "without root_ca nobody is asked")
	require.Equal(t, uint16(tls.VersionTLS12), section.loaded.config.MinVersion)
	require.Equal(t, 10*time.Second, *section.HandshakeTimeout)
}

// renewing is a server's certificate whose files a test changes.
func renewing(t *testing.T) (c *certificates, pair KeyPair, now func() string, logs *observer.ObservedLogs) {
	section := &TLS{}
	section.KeyPair, _ = writePair(t, t.TempDir(), "localhost")
	for _, err := range section.init("tls") {
		require.NoError(t, err)
	}
	core, logs := observer.New(zap.InfoLevel)
	c = newCertificates("s", section, zap.New(core))
	return c, section.KeyPair, func() string { return string(c.config().Certificates[0].Certificate[0]) }, logs
}

func TestAChangedCertificateIsTakenByAHandshakeOnceASecondHasPassed(t *testing.T) {
	c, pair, now, logs := renewing(t)
	first := now()
	writePair(t, filepath.Dir(pair.Cert), "localhost")
	require.Equal(t, first, now(), "files are not looked at more often than once a second")
	require.Eventually(t, func() bool { return now() != first }, 5*time.Second, 10*time.Millisecond)
	require.Equal(t, 1, logs.FilterMessage("certificates are renewed").Len())

	second := now()
	writePair(t, filepath.Dir(pair.Cert), "localhost")
	c.renew()
	require.NotEqual(t, second, now(), "at once with Reset")
}

func TestABrokenCertificateChangesNothingAndIsLoggedOnce(t *testing.T) {
	c, pair, now, logs := renewing(t)
	first := now()
	key, err := os.ReadFile(pair.Key)
	require.NoError(t, err)
	for i, breaks := range []func() error{
		func() error { return os.WriteFile(pair.Key, []byte("no key"), 0o600) },
		func() error { return os.Remove(pair.Key) },
	} {
		require.NoError(t, breaks())
		for range 3 {
			c.renew()
			require.Equal(t, first, now())
		}
		require.Equal(t, i+1, logs.FilterLevelExact(zap.ErrorLevel).Len())
	}
	require.NoError(t, os.WriteFile(pair.Key, key, 0o600))
	c.renew()
	require.Equal(t, 2, logs.Len(), "what comes back as it was is no renewal")
	require.NoError(t, os.Remove(pair.Key))
	c.renew()
	require.Equal(t, 3, logs.Len(), "and what breaks again is said again")
	require.Contains(t, logs.All()[2].ContextMap()["error"], "tcp.servers.s.tls.key: open ")
}

func TestAFileThatIsWrittenOverWithoutShowingItIsSeen(t *testing.T) {
	c, pair, _, _ := renewing(t)
	cert, err := os.ReadFile(pair.Cert)
	require.NoError(t, err)
	broken, at := bytes.Replace(cert, []byte("M"), []byte("!"), 1), time.Now()
	for _, content := range [][]byte{broken, cert} { // of one size, within one tick of the clock
		require.NoError(t, os.WriteFile(pair.Cert, content, 0o600))
		require.NoError(t, os.Chtimes(pair.Cert, at, at))
		c.renew()
		require.Equal(t, string(content) == string(cert), c.wrong == "", c.wrong)
	}
}

func TestFilesThatHaveNotChangedAreNotRead(t *testing.T) {
	c, pair, _, _ := renewing(t)
	old := time.Now().Add(-time.Hour)
	for _, file := range []string{pair.Cert, pair.Key} {
		require.NoError(t, os.Chtimes(file, old, old))
	}
	c.renew()
	require.NotNil(t, c.seen)
	before := c.current.Load()
	c.tls.loaded = nil
	c.renew()
	require.Same(t, before, c.current.Load())
}
