package settings

import (
	"crypto/rsa"
	"crypto/tls"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// allSuites are the cipher suites that Go has, by their IANA names.
func allSuites() map[string]*tls.CipherSuite {
	all := make(map[string]*tls.CipherSuite)
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		all[suite.Name] = suite
	}
	return all
}

// suites returns the suites of CipherSuites that exist.
func (t *TLS) suites() (suites []*tls.CipherSuite) {
	all := allSuites()
	for _, name := range t.CipherSuites {
		if suite := all[name]; suite != nil {
			suites = append(suites, suite)
		}
	}
	return suites
}

func (t *TLS) suiteIDs() (ids []uint16) {
	for _, suite := range t.suites() {
		ids = append(ids, suite.ID)
	}
	return ids
}

// checkSuites returns every mistake in CipherSuites; key is the section's.
func (t *TLS) checkSuites(key string) (errs []error) {
	key += ".cipher_suites"
	if t.CipherSuites == nil {
		return nil
	}
	all, names := allSuites(), make(map[string]reflect.Type)
	for name := range all {
		names[name] = nil
	}
	for _, name := range t.CipherSuites {
		switch suite := all[name]; {
		case suite == nil:
			errs = append(errs, fmt.Errorf("%s: unknown cipher suite %q; want names as IANA has them, of those that Go knows; the nearest is %s",
				key, name, nearest(strings.ToUpper(name), names)))
		case !slices.Contains(suite.SupportedVersions, tls.VersionTLS12):
			errs = append(errs, fmt.Errorf("%s: %s is one of TLS 1.3, which has all of its own, always; leave it out", key, name))
		}
	}
	if len(errs) > 0 {
		return errs
	}
	version := tlsVersions[t.MinVersion]
	isFor := func(s *tls.CipherSuite) bool { return slices.Contains(s.SupportedVersions, version) }
	switch {
	case len(t.CipherSuites) == 0:
		errs = append(errs, fmt.Errorf("%s: is empty; want a list of names, or leave it out", key))
	case version == tls.VersionTLS13:
		errs = append(errs, fmt.Errorf("%s: TLS 1.3 has all of its own, always, and min_version is 1.3; leave it out", key))
	case version != 0 && !slices.ContainsFunc(t.suites(), isFor):
		errs = append(errs, fmt.Errorf("%s: none of them is for TLS %s, which is min_version; want one such as TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
			key, t.MinVersion))
	}
	return errs
}

// checkSuitesFit checks that a certificate can be used with one of the suites.
func (t *TLS) checkSuitesFit(key string, certificates []tls.Certificate) error {
	suites := t.suites()
	if len(suites) == 0 || len(certificates) == 0 {
		return nil
	}
	kinds := make(map[string]bool)
	for i := range certificates {
		kind := "ECDSA" // Ed25519 keys are used with those suites, too
		if _, isRSA := certificates[i].PrivateKey.(*rsa.PrivateKey); isRSA {
			kind = "RSA"
		}
		kinds[kind] = true
	}
	for _, suite := range suites {
		if isECDSA := strings.Contains(suite.Name, "_ECDSA_"); isECDSA && kinds["ECDSA"] || !isECDSA && kinds["RSA"] {
			return nil
		}
	}
	return fmt.Errorf("%s.cipher_suites: none of them can be used with the certificate, whose key is for %s; want some with that in their names",
		key, SortedKeys(kinds)[0])
}

// warnOfOldTLS names the risk of what is only there for old devices.
func (c *Config) warnOfOldTLS(key string, t *TLS) {
	var risks []string
	if v := tlsVersions[t.MinVersion]; v != 0 && v < tls.VersionTLS12 {
		risks = append(risks, "TLS "+t.MinVersion+", which RFC 8996 forbids: who sits in between can make newer clients use it")
	}
	var insecure []string
	for _, suite := range t.suites() {
		if suite.Insecure {
			insecure = append(insecure, suite.Name)
		}
	}
	if len(insecure) > 0 {
		risks = append(risks, "insecure cipher suites: who records connections may come to read them ("+strings.Join(insecure, ", ")+")")
	}
	if len(risks) > 0 {
		c.warn("%s: allows %s; keep it to a server of its own, for devices that know nothing newer", key, strings.Join(risks, ", and "))
	}
}
