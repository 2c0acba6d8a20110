package server

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rrtcp/tcp/internal/certtest"
	"github.com/rrtcp/tcp/internal/logtest"
	"github.com/rrtcp/tcp/internal/settings"
)

// renewing is a server's certificate whose files a test changes.
type renewing struct {
	*certificates
	pair settings.KeyPair
	logs *logtest.Log
}

func newRenewing(t *testing.T) renewing {
	section := testTLS(t)
	log, logs := logtest.New(slog.LevelInfo)
	return renewing{newCertificates("s", section, log), section.KeyPair, logs}
}

// inForce is the certificate of a handshake that begins now.
func (r renewing) inForce() string { return string(r.config().Certificates[0].Certificate[0]) }

func (r renewing) rewrite(t *testing.T) {
	certtest.WritePair(t, filepath.Dir(r.pair.Cert), "localhost")
}

func TestHandshakeRenewsCertificate(t *testing.T) {
	r := newRenewing(t)
	first := r.inForce()
	r.rewrite(t)
	checked := func(at time.Time) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.checked = at
	}
	checked(time.Now().Add(time.Hour))
	require.Equal(t, first, r.inForce(), "files are looked at once a second")
	checked(time.Now().Add(-certificateCheckInterval))
	require.NotEqual(t, first, r.inForce())
	require.Len(t, r.logs.Saying("certificates are renewed"), 1)
}

func TestHandshakeNeverWaitsForRenewal(t *testing.T) {
	r := newRenewing(t)
	r.mu.Lock() // another handshake looks at the files
	defer r.mu.Unlock()
	r.checked = time.Time{}
	require.NotEmpty(t, r.inForce())
}

func TestRenewTakesCertificateNow(t *testing.T) {
	r := newRenewing(t)
	first := r.inForce()
	r.rewrite(t)
	r.renew()
	require.NotEqual(t, first, r.inForce())
}

// Files that are not new are read when they have changed, and only then.
func TestOldFilesAreReadWhenTheyChange(t *testing.T) {
	r := newRenewing(t)
	first := r.inForce()
	renewed := func(modified time.Time) {
		for _, file := range []string{r.pair.Cert, r.pair.Key} {
			require.NoError(t, os.Chtimes(file, modified, modified))
		}
		r.renew()
	}
	old := time.Now().Add(-time.Hour)
	renewed(old)
	key, err := os.ReadFile(r.pair.Key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(r.pair.Key, bytes.Repeat([]byte("x"), len(key)), 0o600))
	renewed(old)
	require.Zero(t, r.logs.Len(), "nothing says that it is another one")
	r.rewrite(t)
	renewed(old.Add(time.Second))
	require.NotEqual(t, first, r.inForce())
	require.Len(t, r.logs.All(), 1)
}

func TestBrokenCertificateChangesNothing(t *testing.T) {
	r := newRenewing(t)
	first := r.inForce()
	key, err := os.ReadFile(r.pair.Key)
	require.NoError(t, err)
	for i, breaks := range []func() error{
		func() error { return os.WriteFile(r.pair.Key, []byte("no key"), 0o600) },
		func() error { return os.Remove(r.pair.Key) },
	} {
		require.NoError(t, breaks())
		for range 3 {
			r.renew()
			require.Equal(t, first, r.inForce())
		}
		require.Len(t, r.logs.At(slog.LevelError), i+1, "each error is logged once")
	}
	require.NoError(t, os.WriteFile(r.pair.Key, key, 0o600))
	r.renew()
	require.Equal(t, 2, r.logs.Len(), "the same content again is no renewal")
	require.NoError(t, os.Remove(r.pair.Key))
	r.renew()
	require.Equal(t, 3, r.logs.Len(), "an error that comes back is logged again")
	require.Contains(t, r.logs.All()[2].Attrs["error"], "tcp.servers.s.tls.key: open ")
}

// A change within one tick of the file system's clock shows in nothing but the content.
func TestSameTimeAndSizeIsSeen(t *testing.T) {
	r := newRenewing(t)
	cert, err := os.ReadFile(r.pair.Cert)
	require.NoError(t, err)
	broken, at := bytes.Replace(cert, []byte("M"), []byte("!"), 1), time.Now()
	for _, content := range [][]byte{broken, cert} {
		require.NoError(t, os.WriteFile(r.pair.Cert, content, 0o600))
		require.NoError(t, os.Chtimes(r.pair.Cert, at, at))
		r.renew()
		require.Equal(t, bytes.Equal(content, cert), r.logged == "", r.logged)
	}
}

// What made files unusable may change without a trace in their times: who may read them, or how many descriptors are left.
func TestUnusableFilesAreReadAgain(t *testing.T) {
	r := newRenewing(t)
	first, old := r.inForce(), time.Now().Add(-time.Hour)
	r.rewrite(t)
	key, err := os.ReadFile(r.pair.Key)
	require.NoError(t, err)
	for _, content := range [][]byte{make([]byte, len(key)), key} {
		require.NoError(t, os.WriteFile(r.pair.Key, content, 0o600))
		for _, file := range []string{r.pair.Cert, r.pair.Key} {
			require.NoError(t, os.Chtimes(file, old, old))
		}
		r.renew()
	}
	require.NotEqual(t, first, r.inForce())
	require.Empty(t, r.logged)
}

func TestUnchangedFilesAreNotRead(t *testing.T) {
	r := newRenewing(t)
	old := time.Now().Add(-time.Hour)
	for _, file := range []string{r.pair.Cert, r.pair.Key} {
		require.NoError(t, os.Chtimes(file, old, old))
	}
	r.renew()
	require.NotNil(t, r.seen)
	r.current.Store(&settings.LoadedTLS{Config: r.current.Load().Config}) // any read would differ from this one
	before := r.current.Load()
	r.renew()
	require.Same(t, before, r.current.Load())
	now := time.Now()
	require.NoError(t, os.Chtimes(r.pair.Cert, now, now))
	r.renew()
	require.NotSame(t, before, r.current.Load())
}
