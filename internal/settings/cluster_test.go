package settings

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/certtest"
)

func TestCheckCluster(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	_, noFile := os.ReadFile(missing)
	for _, c := range []*Cluster{
		{NATS: &NATS{}}, {NATS: &NATS{User: "a", Password: "b"}}, {Redis: &Redis{Username: "a", Password: "b"}}, {Redis: &Redis{Addrs: []string{"/run/redis.sock"}}},
	} {
		cfg := &Config{Servers: map[string]*Server{"a": {Addr: ":0"}}, Cluster: c}
		require.Empty(t, cfg.Check())
	}
	for want, c := range map[string]*Cluster{
		`tcp.cluster: has no engine; want one of the sections nats and redis`:                              {},
		`tcp.cluster.redis: there is nats already; want one of them alone`:                                 {NATS: &NATS{}, Redis: &Redis{}},
		`tcp.cluster.name: "a.b" can't begin a subject; want letters, digits, _ and - alone`:               {Name: "a.b", NATS: &NATS{}},
		`tcp.cluster.timeout: is 0s; want a duration over zero, such as "1s"`:                              {Timeout: ptr(time.Duration(0)), NATS: &NATS{}},
		`tcp.cluster.nats: says who we are in 2 ways; want one of user, token, credentials and nkey`:       {NATS: &NATS{User: "a", Token: "b"}},
		`tcp.cluster.nats.user: is empty; want it beside password`:                                         {NATS: &NATS{Password: "a"}},
		`tcp.cluster.nats.credentials: ` + noFile.Error():                                                  {NATS: &NATS{Credentials: missing}},
		`tcp.cluster.nats.nkey: ` + noFile.Error():                                                         {NATS: &NATS{NKey: missing}},
		`tcp.cluster.nats.tls.root_ca: ` + noFile.Error():                                                  {NATS: &NATS{TLS: &ClientTLS{RootCA: missing}}},
		`tcp.cluster.redis.addrs.1: is empty; want host:port`:                                              {Redis: &Redis{Addrs: []string{"a:1", ""}}},
		`tcp.cluster.redis.addrs.0: "redis://a:1" is no address; want host:port, such as "127.0.0.1:6379"`: {Redis: &Redis{Addrs: []string{"redis://a:1"}}},
		`tcp.cluster.redis.addrs.1: "b" is no address; want host:port, such as "127.0.0.1:6379"`:           {Redis: &Redis{Addrs: []string{"[::1]:1", "b"}}},
		`tcp.cluster.redis.addrs.0: "a:1,b:1" is no address; want host:port, such as "127.0.0.1:6379"`:     {Redis: &Redis{Addrs: []string{"a:1,b:1"}}},
		`tcp.cluster.redis.addrs.0: "a:99999" is no address; want host:port, such as "127.0.0.1:6379"`:     {Redis: &Redis{Addrs: []string{"a:99999"}}},
		`tcp.cluster.redis.password: is empty; want it beside username`:                                    {Redis: &Redis{Username: "a"}},
		`tcp.cluster.redis.db: -1 is negative; want the number of a database, such as 0`:                   {Redis: &Redis{DB: -1}},
	} {
		cfg := &Config{Servers: map[string]*Server{"a": {Addr: ":0"}}, Cluster: c}
		err := errors.Join(cfg.Check()...)
		require.EqualError(t, err, want)
	}
}

// YAML reads 0123 as 83: a password that is a number may be another one than the file has.
func TestNumbersAsTextsOfCluster(t *testing.T) {
	for key, value := range map[string]any{"redis.password": 83, "redis.username": 1.1, "nats.token": 7, "node": 7} {
		_, warnings := load(with("cluster", clusterWith(key, value)))
		require.Equal(t, []string{"tcp.cluster." + key + ": is a number, and YAML reads 0123 as 83; put it in quotes"}, warnings)
	}
	_, warnings := load(with("cluster", clusterWith("redis.password", "0123")))
	require.Empty(t, warnings)
}

// clusterWith is a section cluster with one more key.
func clusterWith(key string, value any) m {
	switch engine, name, isOfEngine := strings.Cut(key, "."); {
	case !isOfEngine:
		return m{"redis": m{}, key: value}
	default:
		return m{engine: m{name: value}}
	}
}

// The configuration library leaves empty sections out of what it decodes.
func TestEmptyEngineIsASection(t *testing.T) {
	for engine, want := range map[string]string{"nats": defaultNATSAddr, "redis": defaultRedisAddr} {
		c := new(lineConfig)
		require.NoError(t, c.Load(sections{"tcp": with("cluster", m{engine: m{}})}, c, c.check))
		got := defaultRedisAddr
		if c.Cluster.NATS != nil {
			got = c.Cluster.NATS.Addr
		}
		require.Equal(t, want, got)
	}
}

func TestClientTLS(t *testing.T) {
	require.Nil(t, (*ClientTLS)(nil).Config(nil))
	c := &ClientTLS{}
	require.Empty(t, c.check("x"))
	require.NotNil(t, c.Config(nil))
	pair := certtest.WritePair(t, t.TempDir(), "node")
	for missing, c := range map[string]*ClientTLS{"key": {Cert: pair.Cert}, "cert": {Key: pair.Key}} {
		require.EqualError(t, errors.Join(c.check("x")...), "x."+missing+": is empty; want the path of a file in PEM")
	}
}

// Certificates of clients live for days or months, nodes for years.
func TestClientCertificateIsRenewed(t *testing.T) {
	dir := t.TempDir()
	pair := certtest.WritePair(t, dir, "node")
	c := &ClientTLS{RootCA: pair.Cert, Cert: pair.Cert, Key: pair.Key}
	require.Empty(t, c.check("x"))
	var unusable error
	config := c.Config(func(err error) { unusable = err })
	server, err := tls.LoadX509KeyPair(pair.Cert, pair.Key)
	require.NoError(t, err)
	seen := func() []byte { // what an engine sees
		here, there := net.Pipe()
		engine := tls.Server(there, &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAnyClientCert})
		node := config.Clone()
		node.ServerName = "node"
		failed := make(chan error)
		go func() { failed <- tls.Client(here, node).Handshake() }()
		require.NoError(t, engine.Handshake())
		require.NoError(t, <-failed)
		require.NoError(t, here.Close())
		return engine.ConnectionState().PeerCertificates[0].Raw
	}
	require.NoError(t, os.WriteFile(pair.Key, []byte("a part"), 0o600))
	require.Equal(t, server.Certificate[0], seen(), "files that can't be used change nothing")
	require.EqualError(t, unusable, "x.key: "+pair.Key+" is no file in PEM")

	unusable = nil
	certtest.WritePair(t, dir, "node")
	renewed, err := tls.LoadX509KeyPair(pair.Cert, pair.Key)
	require.NoError(t, err)
	require.Equal(t, renewed.Certificate[0], seen())
	require.NoError(t, unusable)

	require.NoError(t, os.WriteFile(pair.Key, []byte("a part"), 0o600))
	require.Equal(t, renewed.Certificate[0], seen(), "nor do they later")
}
