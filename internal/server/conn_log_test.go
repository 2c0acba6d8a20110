//go:build go1.25

package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/dispatch"
	"github.com/rrtcp/tcp/internal/stream/streamtest"
	"github.com/rrtcp/tcp/internal/telemetry"
	"github.com/rrtcp/tcp/internal/wire"
)

func TestEndIsOneLogLine(t *testing.T) {
	for name, want := range map[string]struct {
		accessLog bool
		word      string
		level     slog.Level
	}{
		"an ordinary end is for debugging":        {word: "WRITECLOSE", level: slog.LevelDebug},
		"access_log makes it information":         {accessLog: true, word: "WRITECLOSE", level: slog.LevelInfo},
		"a fault of a worker is an error":         {word: "what", level: slog.LevelError},
		"a fault is an error with access_log too": {accessLog: true, word: "what", level: slog.LevelError},
	} {
		t.Run(name, func(t *testing.T) {
			l := testListener(answers(reply(want.word, "bye")))
			logs := l.observe(slog.LevelDebug)
			l.accessLog = want.accessLog
			l.settings.Disabled.Connected = true
			server, client := tcpPair(t)
			_, err := client.Write([]byte("hello\r\n"))
			require.NoError(t, err)
			c, ended := l.serveConn(server)
			_, _ = client.Read(make([]byte, 8))
			client.Close()
			receive(t, ended)

			require.Equal(t, 1, logs.Len(), "packets are not logged")
			require.Equal(t, want.level, logs.All()[0].Level)
			line := logs.All()[0].Attrs
			require.Equal(t, "s", line["server"])
			require.Equal(t, c.uuid, line["uuid"])
			require.Equal(t, client.LocalAddr().String(), line["remote"])
			require.Equal(t, c.reason.String(), line["reason"])
			require.EqualValues(t, 1, line["packets"])
			require.EqualValues(t, 7, line["bytes_read"])
			if want.level != slog.LevelError {
				require.EqualValues(t, 3, line["bytes_written"])
			}
			require.Greater(t, line["duration"], time.Duration(0))
			require.EqualValues(t, 7, l.stats.Received.Load())
			require.EqualValues(t, line["bytes_written"], l.stats.Sent.Load())
			require.EqualValues(t, 1, l.stats.Packets.Load())
		})
	}
}

func TestOrdinaryEndIsNoError(t *testing.T) {
	l := testListener(answers(reply("CONTINUE", "")))
	logs := l.observe(slog.LevelDebug)
	server, client := tcpPair(t)
	_, ended := l.serveConn(server)
	client.Close()
	receive(t, ended)
	require.Equal(t, "eof", logs.All()[0].Attrs["reason"])
	require.NotContains(t, logs.All()[0].Attrs, "error")
}

func TestEndBelowLevelAllocatesNothing(t *testing.T) {
	server, _ := tcpPair(t)
	c := testListener(answers{}).newConnection(server)
	c.err = errors.New("of a test")
	require.Zero(t, testing.AllocsPerRun(100, c.logEnd))
}

// A certificate that can't be read is quoted by package x509, however long its names are.
func TestLogHasNoCertificate(t *testing.T) {
	l := testListener(&replies{})
	l.useTLS(t)
	l.certificates.config().ClientAuth = tls.RequireAnyClientCert
	logs := l.observe(slog.LevelInfo)
	server, client := tcpPair(t)
	c, ended := l.serveConn(server)
	config := &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{withURI(t, "http://["+strings.Repeat("x", 50_000))}}
	secure := tls.Client(client, config)
	_ = secure.Handshake()
	_, _ = io.Copy(io.Discard, client)
	client.Close()
	receive(t, ended)
	require.ErrorContains(t, c.err, "cannot parse URI")
	require.Len(t, logs.All(), 1)
	require.Less(t, len(logs.All()[0].Attrs["error"].(string)), 300)
}

// withURI returns a certificate with that alternative name.
func withURI(t *testing.T, uri string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	names, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(uri)}})
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: names}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestErrorFloodIsSummedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const connections, allowed = 150, 100
		l := testListener(answers(reply("what", "")))
		logs, summed := l.observe(slog.LevelDebug), 0
		l.faults = telemetry.NewLogLimiter(func(times int) { summed += times })
		run := func() {
			server, _ := streamtest.Pair(1)
			l.newConnection(server).serve(func() {})
		}
		for range connections {
			run()
		}
		l.faults.Close()
		require.Len(t, logs.At(slog.LevelError), allowed)
		require.Equal(t, connections-allowed, summed)
		require.Len(t, logs.At(slog.LevelDebug), summed, "each has a line all the same")
		require.EqualValues(t, connections, l.stats.Failures(telemetry.FailureReply))

		l.accessLog = true
		run()
		require.Len(t, logs.At(slog.LevelInfo), 1, "access_log has every end")
		time.Sleep(second)
		run()
		require.Len(t, logs.At(slog.LevelError), allowed+1, "errors again, a second later")
		l.faults.Close()
	})
}

func TestHandshakeFloodIsSummedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const connections, allowed = 150, 100
		l := testListener(answers{})
		l.proxyProtocol = trusting(t, "10.0.0.0/8")
		logs, summed := l.observe(slog.LevelDebug), 0
		l.handshakes = telemetry.NewLogLimiter(func(times int) { summed += times })
		for range connections {
			server, client := streamtest.Pair(1)
			client.CloseWrite()
			l.newConnection(addressedConn{server, tcpAddr(t, "10.0.0.1:1")}).serve(func() {})
		}
		l.handshakes.Close()
		require.Len(t, logs.At(slog.LevelInfo), allowed)
		require.Equal(t, connections-allowed, summed)
		require.Len(t, logs.At(slog.LevelDebug), summed, "each has a line all the same")
	})
}

func TestFailuresAreCounted(t *testing.T) {
	for _, test := range []struct {
		reason wire.Reason
		want   telemetry.Failure
	}{
		{wire.ReasonError, telemetry.FailureDied}, {wire.ReasonOverload, telemetry.FailureOverload}, {wire.ReasonShutdown, telemetry.FailureNone},
	} {
		l := testListener(failing{&dispatch.Failure{Reason: test.reason, Reached: true, Err: errors.New("of a test")}})
		server, _ := streamtest.Pair(1)
		c := l.newConnection(server)
		c.serve(func() {})
		require.Equal(t, test.reason, c.reason)
		for kind := telemetry.FailureNone; kind <= telemetry.FailureOverload; kind++ {
			want := int64(0)
			if kind == test.want && kind != telemetry.FailureNone {
				want = 1
			}
			require.Equal(t, want, l.stats.Failures(kind), "%s: %s", test.reason, kind)
		}
	}
}

// failing are workers that answer nothing.
type failing struct{ *dispatch.Failure }

func (f failing) Exchange(*dispatch.Call, <-chan struct{}, []byte, []byte) (dispatch.Answer, error) {
	return dispatch.Answer{}, f.Failure
}

func (failing) HandOverClose(*dispatch.Call, []byte) {}
