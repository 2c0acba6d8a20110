package server

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rrtcp/tcp/internal/settings"
)

// certificates are the TLS files of a server. They are checked for changes while handshakes happen.
type certificates struct {
	tls    *settings.TLS
	key    string // of the section tls in the configuration
	server string
	log    *slog.Logger

	current atomic.Pointer[settings.LoadedTLS]

	mu      sync.Mutex // held by the one goroutine that checks; only Reset waits for it
	checked time.Time
	seen    []os.FileInfo // at the last read; nil: they are to be read again
	logged  string        // the last error that was logged
}

const (
	certificateCheckInterval = time.Second
	// certificateMinAge is how old a file must be for its time to differ from that of a later version.
	certificateMinAge = 2 * time.Second
)

func newCertificates(server string, t *settings.TLS, log *slog.Logger) *certificates {
	c := &certificates{tls: t, key: "tcp.servers." + server + ".tls", server: server, log: log}
	c.current.Store(t.Loaded())
	return c
}

// config returns what a handshake that begins now uses.
func (c *certificates) config() *tls.Config {
	if c.mu.TryLock() {
		if time.Since(c.checked) >= certificateCheckInterval {
			c.check()
		}
		c.mu.Unlock()
	}
	return c.current.Load().Config
}

// renew loads what has changed, now.
func (c *certificates) renew() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.check()
}

// check loads files that have changed. Files that can't be used change nothing and are logged once. c.mu is held.
func (c *certificates) check() {
	c.checked = time.Now()
	infos, age := statFiles(c.tls.Files())
	if slices.EqualFunc(infos, c.seen, isSameFile) {
		return
	}
	c.seen = infos
	if age < certificateMinAge {
		c.seen = nil
	}

	loaded, errs := c.tls.Load(c.key)
	if err := errors.Join(errs...); err != nil {
		c.seen = nil // who may read them can change without a trace in their times
		if err.Error() != c.logged {
			c.logged = err.Error()
			c.log.Error("changed certificates can't be used; the ones before stay",
				slog.String("server", c.server), slog.Any("error", err))
		}
		return
	}
	c.logged = ""
	if loaded.Sum != c.current.Load().Sum {
		c.current.Store(loaded)
		c.log.Info("certificates are renewed", slog.String("server", c.server))
	}
}

// statFiles also returns the age of the newest file. A file that does not exist is nil.
func statFiles(files []string) (infos []os.FileInfo, age time.Duration) {
	age = certificateMinAge
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			infos = append(infos, nil)
			continue
		}
		infos, age = append(infos, info), min(age, time.Since(info.ModTime()))
	}
	return infos, age
}

func isSameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
