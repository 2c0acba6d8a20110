package settings

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCheckCluster(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	_, noFile := os.ReadFile(missing)
	for want, c := range map[string]*Cluster{
		"": {NATS: &NATS{}},
		`tcp.cluster: has no engine; want one of the sections nats and redis`:                        {},
		`tcp.cluster.redis: there is nats already; want one of them alone`:                           {NATS: &NATS{}, Redis: &Redis{}},
		`tcp.cluster.name: "a.b" can't begin a subject; want letters, digits, _ and - alone`:         {Name: "a.b", NATS: &NATS{}},
		`tcp.cluster.timeout: is 0s; want a duration over zero, such as "1s"`:                        {Timeout: ptr(time.Duration(0)), NATS: &NATS{}},
		`tcp.cluster.nats: says who we are in 2 ways; want one of user, token, credentials and nkey`: {NATS: &NATS{User: "a", Token: "b"}},
		`tcp.cluster.nats.user: is empty; want it beside password`:                                   {NATS: &NATS{Password: "a"}},
		`tcp.cluster.nats.credentials: ` + noFile.Error():                                            {NATS: &NATS{Credentials: missing}},
		`tcp.cluster.nats.nkey: ` + noFile.Error():                                                   {NATS: &NATS{NKey: missing}},
		`tcp.cluster.nats.tls.root_ca: ` + noFile.Error():                                            {NATS: &NATS{TLS: &ClientTLS{RootCA: missing}}},
		`tcp.cluster.redis.addrs.1: is empty; want host:port`:                                        {Redis: &Redis{Addrs: []string{"a:1", ""}}},
		`tcp.cluster.redis.db: -1 is negative; want the number of a database, such as 0`:             {Redis: &Redis{DB: -1}},
	} {
		cfg := &Config{Servers: map[string]*Server{"a": {Addr: ":0"}}, Cluster: c}
		err := errors.Join(cfg.Check()...)
		if want == "" {
			require.NoError(t, err)
			continue
		}
		require.EqualError(t, err, want)
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
	require.Nil(t, (*ClientTLS)(nil).Config())
	c := &ClientTLS{}
	require.Empty(t, c.check("x"))
	require.NotNil(t, c.Config())
}
