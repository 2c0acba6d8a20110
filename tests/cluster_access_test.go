package tests

import (
	"crypto/x509"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// natsUser has the public key of the seed in testdata/nats.creds, which nothing but these tests knows.
const natsUser = "UBWJIZ7DSKKCD4TX2AU3G3XPMEP4VQNBOXWHONEXJC4H3TSPIHAZVLQI"

// Every way to say who a node is, with an engine that lets nobody else in; and wrong ones.
func TestClusterAccess(t *testing.T) {
	t.Parallel()
	creds, err := os.ReadFile("testdata/nats.creds")
	require.NoError(t, err)
	_, seed, _ := strings.Cut(string(creds), "-----BEGIN USER NKEY SEED-----\n")
	seed, _, _ = strings.Cut(seed, "\n")
	const allowed = `permissions: {publish: "rrtcp.>", subscribe: "rrtcp.>"}`
	for name, test := range map[string]struct{ engine, conf, section, wrong string }{
		"nats user":        {"nats", `authorization: {users: [{user: a, password: b, ` + allowed + `}]}`, `user: a, password: b`, `user: a, password: c`},
		"nats token":       {"nats", `authorization: {token: secret}`, `token: secret`, ""},
		"nats nkey":        {"nats", `authorization: {users: [{nkey: ` + natsUser + `, ` + allowed + `}]}`, `nkey: "DIR/nkey"`, ""},
		"nats credentials": {"nats", `include "jwt.conf"`, `credentials: "DIR/creds"`, ""},
		"nats tls": {"nats", `tls: {cert_file: "DIR/cert.pem", key_file: "DIR/cert.key", ca_file: "DIR/ca.pem", verify: true}`,
			`tls: {root_ca: "DIR/ca.pem", cert: "DIR/cert.pem", key: "DIR/cert.key"}`, `tls: {root_ca: "DIR/ca.pem"}`},
		"redis password": {"redis", "port PORT\nrequirepass secret", `password: secret`, `password: other`},
		"redis tls": {"redis", "tls-port PORT\nport 0\ntls-cert-file DIR/cert.pem\ntls-key-file DIR/cert.key\ntls-ca-cert-file DIR/ca.pem",
			`tls: {root_ca: "DIR/ca.pem", cert: "DIR/cert.pem", key: "DIR/cert.key"}`, `tls: {}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEngine(t, test.engine)
			e.timeout = time.Second // a push to a node that is not there waits for its end
			host, port, err := net.SplitHostPort(e.address)
			require.NoError(t, err)
			dir := shortDir(t)
			in := strings.NewReplacer("DIR", dir, "PORT", port)
			jwt, err := os.ReadFile("testdata/nats-jwt.conf")
			require.NoError(t, err)
			save(t, dir+"/jwt.conf", jwt)
			save(t, dir+"/creds", creds)
			save(t, dir+"/nkey", []byte(seed+"\n"))
			save(t, dir+"/conf", []byte(in.Replace(test.conf)+"\n"))
			ca := newAuthority(t, "engine")
			save(t, dir+"/ca.pem", ca.pem)
			ca.issue(&x509.Certificate{IPAddresses: []net.IP{net.ParseIP(host)}}).save(t, dir, "cert")
			e.conf = dir + "/conf"
			e.start()
			config := func(keys string) string {
				e.keys = ", " + in.Replace(keys)
				return "tcp:\n  cluster: " + e.config(e.address)
			}
			if test.wrong != "" {
				yaml := strings.Replace(withRPC, "tcp:", strings.Replace(config(test.wrong), "{", "{required: true, ", 1), 1)
				require.Contains(t, newHost(t, shortDir(t)).failedStart(yaml), "tcp: cluster: "+test.engine+": ")
			}
			h := start(t, strings.Replace(withRPC, "tcp:", config(test.section), 1))
			eventually(t, "it is there", func() bool { return h.nodes().Connected })
			stranger := "01020304-0506-8000-8000-000000000000" // who may only not be heard yet, in the first seconds
			require.Contains(t, []string{pushUnreachable, pushGone}, h.push(stranger, "x", false))
			require.Empty(t, h.ours("warn"), "it may do what it has to")
		})
	}
}

// The user of Redis that docs/cluster.md has, in a Redis Cluster: it may do what a node needs, and nothing that others notice.
func TestClusterUserOfRedis(t *testing.T) {
	t.Parallel()
	docs, err := os.ReadFile(repository + "/docs/cluster.md")
	require.NoError(t, err)
	_, user, ok := strings.Cut(string(docs), "`ACL SETUSER rrtcp ")
	require.True(t, ok)
	user, _, _ = strings.Cut(user, "`")
	one, two, _, _ := startRedisCluster(t)
	for _, e := range []*clusterEngine{one, two} {
		require.Equal(t, "OK", e.cli(append([]string{"acl", "setuser", "rrtcp"}, strings.Fields(user)...)...))
		e.keys = ", username: rrtcp, password: secret"
	}
	for _, forbidden := range []string{
		"client pause 1", "client kill type normal", "client list", "cluster reset", "cluster failover", "cluster flushslots", "config get port", "info",
		"monitor", "get x", "publish other x", "psubscribe *",
	} {
		require.Contains(t, one.cli(append([]string{"acl", "dryrun", "rrtcp"}, strings.Fields(forbidden)...)...), "no permissions", forbidden)
	}
	both := one.address + "," + two.address
	a, b := one.nodeVia(both), two.nodeVia(both)
	eventually(t, "they know each other", func() bool { return len(a.nodes().Nodes) == 4 && len(b.nodes().Nodes) == 4 })
	requireReached(t, a, b, "hello")
	require.Empty(t, a.ours("warn"))
	require.Empty(t, b.ours("warn"))
}
