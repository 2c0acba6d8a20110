package settings

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Cluster is the section cluster: any node reaches the connections of all others, over NATS or Redis.
type Cluster struct {
	// Name begins the subjects, or channels, of the nodes: those with the same name belong together; "rrtcp" by default.
	Name string `mapstructure:"name"`
	// Node names this node, which no other may have; by default each start has a random one.
	Node string `mapstructure:"node"`
	// Timeout bounds how long a call waits for another node; 1 s by default.
	Timeout *time.Duration `mapstructure:"timeout"`
	// Required makes an engine that can't be reached at start an error; false by default.
	Required bool   `mapstructure:"required"`
	NATS     *NATS  `mapstructure:"nats"`
	Redis    *Redis `mapstructure:"redis"`
}

// NATS says where NATS is and who we are there.
type NATS struct {
	// Addr has the servers, several with commas between; "nats://127.0.0.1:4222" by default.
	Addr     string `mapstructure:"addr"`
	User     string `mapstructure:"user"`
	Password string `mapstructure:"password"`
	Token    string `mapstructure:"token"`
	// Credentials is a file with a JWT and a seed, NKey one with a seed.
	Credentials string     `mapstructure:"credentials"`
	NKey        string     `mapstructure:"nkey"`
	TLS         *ClientTLS `mapstructure:"tls"`
}

// Redis says where Redis is and who we are there: one server, with MasterName its Sentinels, or some nodes of a Redis Cluster.
type Redis struct {
	// Addrs are "127.0.0.1:6379" by default.
	Addrs      []string   `mapstructure:"addrs"`
	Username   string     `mapstructure:"username"`
	Password   string     `mapstructure:"password"`
	DB         int        `mapstructure:"db"`
	MasterName string     `mapstructure:"master_name"`
	TLS        *ClientTLS `mapstructure:"tls"`
}

// ClientTLS is the section tls of a connection to an engine; empty it verifies the engine by the system's authorities.
type ClientTLS struct {
	RootCA string `mapstructure:"root_ca"`
	Cert   string `mapstructure:"cert"`
	Key    string `mapstructure:"key"`

	config *tls.Config        // set by check, as is own
	own    *clientCertificate // nil: none
}

// Config returns what check has read; nil: no TLS. unusable is told of files that can't be used any more.
func (t *ClientTLS) Config(unusable func(error)) *tls.Config {
	if t == nil {
		return nil
	}
	config := t.config.Clone()
	if t.own == nil {
		return config
	}
	config.GetClientCertificate = func(request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		cert, err := t.own.renewed()
		if err != nil {
			unusable(err)
		}
		if request.SupportsCertificate(cert) != nil {
			return new(tls.Certificate), nil // none, as for Config.Certificates
		}
		return cert, nil
	}
	return config
}

const (
	defaultClusterName    = "rrtcp"
	defaultClusterTimeout = time.Second
	defaultNATSAddr       = "nats://127.0.0.1:4222"
	defaultRedisAddr      = "127.0.0.1:6379"
)

// clusterName is what a subject of NATS and a channel of Redis can begin with.
var clusterName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// check fills in the defaults and returns every mistake.
func (c *Cluster) check() (errs []error) {
	if c == nil {
		return nil
	}
	if c.Name == "" {
		c.Name = defaultClusterName
	}
	if !clusterName.MatchString(c.Name) {
		errs = append(errs, fmt.Errorf("tcp.cluster.name: %q can't begin a subject; want letters, digits, _ and - alone", c.Name))
	}
	setDefault(&c.Timeout, defaultClusterTimeout)
	if *c.Timeout <= 0 {
		errs = append(errs, fmt.Errorf("tcp.cluster.timeout: is %s; want a duration over zero, such as \"1s\"", *c.Timeout))
	}
	switch {
	case c.NATS == nil && c.Redis == nil:
		errs = append(errs, errors.New("tcp.cluster: has no engine; want one of the sections nats and redis"))
	case c.NATS != nil && c.Redis != nil:
		errs = append(errs, errors.New("tcp.cluster.redis: there is nats already; want one of them alone"))
	}
	return append(append(errs, c.NATS.check()...), c.Redis.check()...)
}

func (n *NATS) check() (errs []error) {
	const key = "tcp.cluster.nats"
	if n == nil {
		return nil
	}
	if n.Addr == "" {
		n.Addr = defaultNATSAddr
	}
	ways := 0
	for _, way := range []string{n.User, n.Token, n.Credentials, n.NKey} {
		if way != "" {
			ways++
		}
	}
	if ways > 1 {
		errs = append(errs, fmt.Errorf("%s: says who we are in %d ways; want one of user, token, credentials and nkey", key, ways))
	}
	if n.User == "" && n.Password != "" {
		errs = append(errs, fmt.Errorf("%s.user: is empty; want it beside password", key))
	}
	for name, file := range map[string]string{"credentials": n.Credentials, "nkey": n.NKey} {
		if file == "" {
			continue
		}
		if _, err := os.ReadFile(file); err != nil {
			errs = append(errs, fmt.Errorf("%s.%s: %w", key, name, err))
		}
	}
	return append(errs, n.TLS.check(key+".tls")...)
}

func (r *Redis) check() (errs []error) {
	const key = "tcp.cluster.redis"
	if r == nil {
		return nil
	}
	if len(r.Addrs) == 0 {
		r.Addrs = []string{defaultRedisAddr}
	}
	for i, addr := range r.Addrs {
		switch {
		case addr == "":
			errs = append(errs, fmt.Errorf("%s.addrs.%d: is empty; want host:port", key, i))
		case !isRedisAddress(addr):
			errs = append(errs, fmt.Errorf("%s.addrs.%d: %q is no address; want host:port, such as %q", key, i, addr, defaultRedisAddr))
		}
	}
	if r.Username != "" && r.Password == "" { // go-redis would log in as nobody
		errs = append(errs, fmt.Errorf("%s.password: is empty; want it beside username", key))
	}
	if r.DB < 0 {
		errs = append(errs, fmt.Errorf("%s.db: %d is negative; want the number of a database, such as 0", key, r.DB))
	}
	return append(errs, r.TLS.check(key+".tls")...)
}

// isRedisAddress reports whether go-redis can connect to an address: host:port, or the path of a unix socket.
func isRedisAddress(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	_, wrong := strconv.ParseUint(port, 10, 16)
	return strings.HasPrefix(addr, "/") || err == nil && wrong == nil
}

// check reads the files and returns every mistake; key is the section's.
func (t *ClientTLS) check(key string) []error {
	if t == nil {
		return nil
	}
	r := newPEMReader()
	t.config = &tls.Config{MinVersion: tls.VersionTLS12}
	t.config.RootCAs = r.authorities(key+".root_ca", t.RootCA)
	if t.Cert != "" || t.Key != "" {
		pair := KeyPair{Cert: t.Cert, Key: t.Key}
		if cert, ok := r.certificate(key, pair); ok {
			t.own = &clientCertificate{key: key, pair: pair}
			t.own.last.Store(&cert)
		}
	}
	return r.errs
}

// clientCertificate is what the files have at a handshake, and where they can't be used what they had before.
type clientCertificate struct {
	key  string
	pair KeyPair
	last atomic.Pointer[tls.Certificate]
}

// renewed also returns what is wrong with the files.
func (c *clientCertificate) renewed() (*tls.Certificate, error) {
	r := newPEMReader()
	if cert, ok := r.certificate(c.key, c.pair); ok {
		c.last.Store(&cert)
	}
	return c.last.Load(), errors.Join(r.errs...)
}
