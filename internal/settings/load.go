package settings

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Configurer is RoadRunner's config plugin.
type Configurer interface {
	// UnmarshalKey decodes the section name into out.
	UnmarshalKey(name string, out any) error
	// Has reports whether there is a section, or a key, of that name.
	Has(name string) bool
}

// Load decodes the section tcp and checks it. section points to the struct of the RoadRunner line: it embeds c and has the
// pool's section as a field. check fills in the defaults of the whole section and returns its mistakes, each of which begins
// with its key. The error has all mistakes, one for each key.
func (c *Config) Load(from Configurer, section any, check func() []error) error {
	raw := make(map[string]any)
	if err := from.UnmarshalKey(sectionName, &raw); err != nil {
		return errors.New("tcp: is no section; want keys of its own below it, servers among them")
	}
	decodeErr := from.UnmarshalKey(sectionName, section) // decodes what it can
	servers, _ := raw["servers"].(map[string]any)
	c.restoreServers(from, servers)
	c.restoreSections(from, section)
	c.markSet(servers)
	found := validateKeys(raw, reflect.TypeOf(section).Elem())
	found.dropped(from, sectionName, raw, reflect.TypeOf(section).Elem())
	for _, name := range SortedKeys(servers) {
		server, _ := servers[name].(map[string]any)
		found.dropped(from, "tcp.servers."+name, server, reflect.TypeOf(Server{}))
	}
	c.warnings = append(c.warnings, found.warnings...)
	errs := found.errs
	if decodeErr != nil && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("tcp: want keys below it as docs/configuration.md has them: %w", decodeErr))
	}
	for _, err := range check() {
		key, what, _ := strings.Cut(err.Error(), ": ")
		if found.isReported(key) || strings.HasPrefix(what, "is empty") && found.isReportedBelow(key) {
			continue
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// restoreServers decodes the servers that are missing by themselves: the configuration library leaves out a server with a value that
// it can't decode, and its other mistakes would not be found.
func (c *Config) restoreServers(from Configurer, servers map[string]any) {
	for name, value := range servers {
		if _, ok := value.(map[string]any); !ok || c.Servers[name] != nil {
			continue
		}
		server := new(Server)
		_ = from.UnmarshalKey("tcp.servers."+name, server) // validateKeys has a better error for each value
		if c.Servers == nil {
			c.Servers = make(map[string]*Server)
		}
		c.Servers[name] = server
	}
}

// markSet tells the framing of each server which keys it has.
func (c *Config) markSet(servers map[string]any) {
	for name, server := range c.Servers {
		if set, ok := servers[name].(map[string]any); ok && server != nil {
			server.MarkSet(SortedKeys(set))
		}
	}
}

// isReported reports whether there is an error for the key already, or for one above it.
func (v *validator) isReported(key string) bool {
	return slices.ContainsFunc(v.reported, func(r string) bool { return key == r || strings.HasPrefix(key, r+".") })
}

// isReportedBelow reports whether there is an error for a key below this one already. Decoding leaves such a key out, and a section that
// has no other key is not empty.
func (v *validator) isReportedBelow(key string) bool {
	return slices.ContainsFunc(v.reported, func(r string) bool { return strings.HasPrefix(r, key+".") })
}
