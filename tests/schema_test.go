package tests

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// compileSchema reads schema.json. It refers to nothing outside of itself but the dialect that the library knows.
func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(jsonschema.SchemeURLLoader{"file": jsonschema.FileLoader{}})
	schema, err := compiler.Compile(repository + "/schema.json")
	require.NoError(t, err)
	return schema
}

// fromYAML is a document as the schema library wants it.
func fromYAML(t *testing.T, text string) any {
	t.Helper()
	var parsed any
	require.NoError(t, yaml.Unmarshal([]byte(text), &parsed))
	raw, err := json.Marshal(parsed)
	require.NoError(t, err)
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(string(raw)))
	require.NoError(t, err)
	return document
}

// block is a fenced block of a document.
type block struct{ where, language, text string }

// documents are README and docs.
func documents(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(repository + "/docs/*.md")
	require.NoError(t, err)
	return append(files, repository+"/README.md")
}

// blocks are the fenced blocks of a document, those inside of lists too.
func blocks(t *testing.T, file string) (found []block) {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	var b *block
	var indent string
	for i, line := range strings.Split(string(content), "\n") {
		before, language, isFence := strings.Cut(line, "```")
		switch {
		case b == nil && isFence && strings.TrimSpace(before) == "":
			b, indent = &block{where: fmt.Sprintf("%s:%d", filepath.Base(file), i+1), language: language}, before
		case b != nil && strings.TrimSpace(line) == "```":
			found, b = append(found, *b), nil
		case b != nil:
			b.text += strings.TrimPrefix(line, indent) + "\n"
		}
	}
	require.Nil(t, b, "%s: a block without an end", file)
	return found
}

// configurations are the examples and the YAML of the documents.
func configurations(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for _, file := range documents(t) {
		for _, b := range blocks(t, file) {
			if b.language == "yaml" {
				found[b.where] = b.text
			}
		}
	}
	require.NotEmpty(t, found)
	inDocuments := len(found)
	for _, dir := range []string{repository + "/examples", "../cmd/rr"} {
		require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".rr.yaml") {
				return err
			}
			content, err := os.ReadFile(path)
			found[strings.TrimPrefix(path, "../")] = string(content)
			return err
		}))
	}
	require.Greater(t, len(found), inDocuments)
	return found
}

// belowTCP begins a block that holds keys of the section and not a whole configuration.
const belowTCP = "# below tcp\n"

func TestDocumentedConfigurationsMatchSchema(t *testing.T) {
	t.Parallel()
	schema := compileSchema(t)
	for where, text := range configurations(t) {
		t.Run(where, func(t *testing.T) {
			section := fromYAML(t, text)
			if !strings.HasPrefix(text, belowTCP) {
				whole, ok := section.(map[string]any)
				require.True(t, ok && whole["tcp"] != nil, "neither a configuration nor %q", belowTCP)
				section = whole["tcp"]
			}
			require.NoError(t, schema.Validate(section))
		})
	}
}

func TestSchemaMistakes(t *testing.T) {
	t.Parallel()
	schema := compileSchema(t)
	for name, section := range map[string]string{
		"no servers":                          `{}`,
		"no server":                           `{servers: {}}`,
		"no address":                          `{servers: {a: {}}}`,
		"a server that is none":               `{servers: {a: }}`,
		"a dot in a name":                     `{servers: {a.b: {addr: ":1"}}}`,
		"an unknown key":                      `{servers: {a: {addr: ":1"}}, dialekt: released}`,
		"an unknown key of a server":          `{servers: {a: {addr: ":1", delimeter: x}}}`,
		"an unknown key of length":            `{servers: {a: {addr: ":1", framing: length, length: {byte: 2}}}}`,
		"an unknown key of the pool":          `{servers: {a: {addr: ":1"}}, pool: {workers_num: 1}}`,
		"an unknown key of the supervisor":    `{servers: {a: {addr: ":1"}}, pool: {supervisor: {exec: 1s}}}`,
		"an unknown dialect":                  `{servers: {a: {addr: ":1"}}, dialect: modern}`,
		"a cluster without an engine":         `{servers: {a: {addr: ":1"}}, cluster: {}}`,
		"a cluster with two engines":          `{servers: {a: {addr: ":1"}}, cluster: {nats: {}, redis: {}}}`,
		"a cluster's name with a dot":         `{servers: {a: {addr: ":1"}}, cluster: {name: a.b, nats: {}}}`,
		"a user and a token at NATS":          `{servers: {a: {addr: ":1"}}, cluster: {nats: {user: a, token: b}}}`,
		"a password at NATS without a user":   `{servers: {a: {addr: ":1"}}, cluster: {nats: {password: a}}}`,
		"half a certificate for Redis":        `{servers: {a: {addr: ":1"}}, cluster: {redis: {tls: {cert: a}}}}`,
		"no address of Redis":                 `{servers: {a: {addr: ":1"}}, cluster: {redis: {addrs: []}}}`,
		"bulks of no events":                  `{servers: {a: {addr: ":1"}}, bulk: {max_events: 0}}`,
		"bulks of no bytes":                   `{servers: {a: {addr: ":1"}}, bulk: {max_bytes: 0}}`,
		"bulks of no kilobytes":               `{servers: {a: {addr: ":1"}}, bulk: {max_bytes: 0.0 KB}}`,
		"a size that is none":                 `{servers: {a: {addr: ":1", max_packet_size: "4 MX"}}}`,
		"a negative size":                     `{servers: {a: {addr: ":1"}}, memory_limit: -4}`,
		"an unknown idle_on":                  `{servers: {a: {addr: ":1", idle_timeout: 1m, idle_on: sent}}}`,
		"an unknown connected_on":             `{servers: {a: {addr: ":1", connected_on: data}}}`,
		"an unknown half_close":               `{servers: {a: {addr: ":1", half_close: true}}}`,
		"a cipher suite of OpenSSL":           `{servers: {a: {addr: ":1", tls: {cert: x, key: x, cipher_suites: [AES128-SHA]}}}}`,
		"what to do with others, misspelt":    `{servers: {a: {addr: ":1", proxy_protocol: {trusted: [10.0.0.0/8], untrusted: serve}}}}`,
		"an unknown protocol":                 `{servers: {a: {addr: ":1", protocol: http}}}`,
		"an empty goodbye":                    `{servers: {a: {addr: ":1", goodbye: {}}}}`,
		"a goodbye for a reason that is none": `{servers: {a: {addr: ":1", goodbye: {rpc: x}}}}`,
		"a goodbye in both notations":         `{servers: {a: {addr: ":1", goodbye: {idle: x, idle_hex: "04"}}}}`,
		"a goodbye that is too long":          `{servers: {a: {addr: ":1", goodbye: {idle: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx}}}}`,
		"a duration without a unit":           `{servers: {a: {addr: ":1", idle_timeout: 10}}}`,
		"a duration that is none":             `{servers: {a: {addr: ":1", idle_timeout: soon}}}`,
		"a negative duration":                 `{servers: {a: {addr: ":1", idle_timeout: "-1s"}}}`,
		"a duration of the pool in ns":        `{servers: {a: {addr: ":1"}}, pool: {allocate_timeout: 60}}`,
		"a negative number":                   `{servers: {a: {addr: ":1"}}, max_connections: -1}`,
		"half a worker":                       `{servers: {a: {addr: ":1"}}, pool: {num_workers: 0.5}}`,
		"a buffer in bytes":                   `{servers: {a: {addr: ":1"}}, read_buf_size: 50485760}`,
		"an unknown event":                    `{servers: {a: {addr: ":1", events: [OPENED]}}}`,
		"an empty delimiter":                  `{servers: {a: {addr: ":1", delimiter: ""}}}`,
		"a delimiter and delimiters":          `{servers: {a: {addr: ":1", delimiter: "x", delimiters: ["y"]}}}`,
		"a wait for one delimiter":            `{servers: {a: {addr: ":1", delimiter: "x", delimiter_wait: 20ms}}}`,
		"empty packets of another framing":    `{servers: {a: {addr: ":1", framing: raw, skip_empty: true}}}`,
		"framing rules without rules":         `{servers: {a: {addr: ":1", framing: rules}}}`,
		"rules and a delimiter":               `{servers: {a: {addr: ":1", delimiter: "x", rules: [{starts: "<"}]}}}`,
		"no rules":                            `{servers: {a: {addr: ":1", rules: []}}}`,
		"rules in a rule":                     `{servers: {a: {addr: ":1", rules: [{rules: [{}]}]}}}`,
		"a rule with a foreign key":           `{servers: {a: {addr: ":1", rules: [{starts: "<", packet_size: 2}]}}}`,
		"half a byte":                         `{servers: {a: {addr: ":1", delimiter_hex: "7"}}}`,
		"bytes as a number":                   `{servers: {a: {addr: ":1", delimiter_hex: 10}}}`,
		"a delimiter in two notations":        `{servers: {a: {addr: ":1", delimiter: "~", delimiter_hex: "7e"}}}`,
		"delimiters in two notations":         `{servers: {a: {addr: ":1", delimiters: ["~"], delimiters_hex: ["7e"]}}}`,
		"first bytes in two notations":        `{servers: {a: {addr: ":1", rules: [{starts: "~", starts_hex: "7e"}]}}}`,
		"digits up to a digit in hex":         `{servers: {a: {addr: ":1", framing: length, length: {until_hex: "35"}}}}`,
		"something else for a long packet":    `{servers: {a: {addr: ":1", on_too_long: drop}}}`,
		"a long packet of framing raw":        `{servers: {a: {addr: ":1", framing: raw, on_too_long: discard}}}`,
		"an unknown framing":                  `{servers: {a: {addr: ":1", framing: lines}}}`,
		"framing length without a length":     `{servers: {a: {addr: ":1", framing: length}}}`,
		"framing fixed without a size":        `{servers: {a: {addr: ":1", framing: fixed}}}`,
		"a length without its framing":        `{servers: {a: {addr: ":1", length: {bytes: 2}}}}`,
		"a packet size without its framing":   `{servers: {a: {addr: ":1", packet_size: 2}}}`,
		"a delimiter with another framing":    `{servers: {a: {addr: ":1", framing: raw, delimiter: "x"}}}`,
		"two kinds of length":                 `{servers: {a: {addr: ":1", framing: length, length: {bytes: 2, ascii: 4}}}}`,
		"no kind of length":                   `{servers: {a: {addr: ":1", framing: length, length: {offset: 2}}}}`,
		"a length of five bytes":              `{servers: {a: {addr: ":1", framing: length, length: {bytes: 5}}}}`,
		"digits up to nothing":                `{servers: {a: {addr: ":1", framing: length, length: {ascii: true}}}}`,
		"digits up to a digit":                `{servers: {a: {addr: ":1", framing: length, length: {until: "5"}}}}`,
		"digits up to two bytes":              `{servers: {a: {addr: ":1", framing: length, length: {until: "ab"}}}}`,
		"a count of digits up to a byte":      `{servers: {a: {addr: ":1", framing: length, length: {ascii: 4, until: " "}}}}`,
		"an unknown encoding":                 `{servers: {a: {addr: ":1", framing: length, length: {bytes: 4, encoding: octal}}}}`,
		"a binary length of five, named":      `{servers: {a: {addr: ":1", framing: length, length: {bytes: 5, encoding: binary}}}}`,
		"a BCD length of ten bytes":           `{servers: {a: {addr: ":1", framing: length, length: {bytes: 10, encoding: bcd}}}}`,
		"a mask of digits":                    `{servers: {a: {addr: ":1", framing: length, length: {ascii: 4, mask: 1}}}}`,
		"a mask without a bit":                `{servers: {a: {addr: ":1", framing: length, length: {bytes: 4, mask: 0}}}}`,
		"an order of bytes of decimal digit":  `{servers: {a: {addr: ":1", framing: length, length: {ascii: 5, endian: big}}}}`,
		"an unknown key of tls":               `{servers: {a: {addr: ":1", tls: {cert: x, key: x, min: "1.2"}}}}`,
		"an unknown key of certs":             `{servers: {a: {addr: ":1", tls: {certs: [{cert: x, key: x, name: x}]}}}}`,
		"an empty tls":                        `{servers: {a: {addr: ":1", tls: {}}}}`,
		"a certificate without its key":       `{servers: {a: {addr: ":1", tls: {cert: x}}}}`,
		"an unknown version of TLS":           `{servers: {a: {addr: ":1", tls: {cert: x, key: x, min_version: "1.4"}}}}`,
		"an unknown client_auth_type":         `{servers: {a: {addr: ":1", tls: {cert: x, key: x, client_auth_type: all}}}}`,
		"verifying without a root_ca":         `{servers: {a: {addr: ":1", tls: {cert: x, key: x, client_auth_type: verify_client_cert_if_given}}}}`,
		"an unknown key of proxy_protocol":    `{servers: {a: {addr: ":1", proxy_protocol: {trusted: ["10.0.0.0/8"], version: 2}}}}`,
		"an empty proxy_protocol":             `{servers: {a: {addr: ":1", proxy_protocol: {}}}}`,
		"no proxy, but a timeout":             `{servers: {a: {addr: ":1", proxy_protocol: {timeout: 5s}}}}`,
		"no proxies on a unix socket":         `{servers: {a: {addr: "unix:///x", proxy_protocol: {trusted: []}}}}`,
		"no events":                           `{servers: {a: {addr: ":1", events: []}}}`,
		"no more certificates":                `{servers: {a: {addr: ":1", tls: {cert: x, key: x, certs: []}}}}`,
		"four digits that are binary":         `{servers: {a: {addr: ":1", framing: length, length: {ascii: 4, encoding: binary}}}}`,
		"one digit up to a byte":              `{servers: {a: {addr: ":1", framing: length, length: {ascii: 1, until: " "}}}}`,
		"no digit up to a byte":               `{servers: {a: {addr: ":1", framing: length, length: {ascii: 0, until_hex: "20"}}}}`,
		"one digit up to a byte, in a rule":   `{servers: {a: {addr: ":1", rules: [{framing: length, length: {ascii: 1, until: " "}}]}}}`,
		"a proxy by name":                     `{servers: {a: {addr: ":1", proxy_protocol: {trusted: [proxy.local]}}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			require.Error(t, schema.Validate(fromYAML(t, section)))
			if !strings.Contains(section, ": {}}}}") { // the config plugin drops that from a file: hosttest tests it in other ways
				require.NotEmpty(t, mistakes(t, "tcp: "+section), "the plugin takes it")
			}
		})
	}
}

func TestSchemaTakesWhatThePluginTakes(t *testing.T) {
	t.Parallel()
	schema := compileSchema(t)
	for name, section := range map[string]string{
		"a unix socket whose clients are proxies": `{servers: {a: {addr: "unix:///x", proxy_protocol: {}}}}`,
		"a scheme in capitals":                    `{servers: {a: {addr: "UNIX:///x", proxy_protocol: {timeout: 1s}}}}`,
		"four digits, named":                      `{servers: {a: {addr: ":1", framing: length, length: {ascii: 4, encoding: ascii}}}}`,
		"digits up to a byte":                     `{servers: {a: {addr: ":1", framing: length, length: {ascii: true, until: " "}}}}`,
		"hexadecimal digits up to a byte":         `{servers: {a: {addr: ":1", framing: length, length: {until: " ", encoding: hex}}}}`,
		"bulks of few":                            `{servers: {a: {addr: ":1"}}, bulk: {max_events: 2, max_bytes: 0.5}}`,
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, schema.Validate(fromYAML(t, section)))
			require.Empty(t, mistakes(t, "tcp: "+section))
		})
	}
}
