package tests

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func promtool(t *testing.T, stdin string, args ...string) {
	t.Helper()
	cmd := exec.Command(installed(t, "promtool"), args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func TestPromtool(t *testing.T) {
	t.Parallel()
	h := startObserved(t, openAndLimited)
	require.Equal(t, "x", h.dial("echo").ask("x"))
	var ours strings.Builder // the metrics of others are not ours to judge
	for _, line := range strings.SplitAfter(h.scrape(), "\n") {
		if strings.Contains(line, "rr_tcp_") {
			ours.WriteString(line)
		}
	}
	require.NotContains(t, ours.String(), "rr_tcp_cluster_", "this node is alone")
	promtool(t, ours.String(), "check", "metrics")
	promtool(t, "", "check", "rules", repository+"/examples/monitoring/alerts.yaml")
	promtool(t, "", "test", "rules", repository+"/tests/monitoring/alerts_test.yaml")

	rules := filepath.Join(shortDir(t), "rules.yaml") // each query of the dashboard as one
	var list strings.Builder
	list.WriteString("groups: [{name: dashboard, rules: [\n")
	for i, query := range dashboardQueries(t) {
		query = strings.NewReplacer("$__rate_interval", "1m", "$server", ".*", "$instance", ".*", "$job", ".*").Replace(query)
		fmt.Fprintf(&list, "{record: \"query:%d\", expr: %q},\n", i, query)
	}
	list.WriteString("]}]\n")
	require.NoError(t, os.WriteFile(rules, []byte(list.String()), 0o600))
	promtool(t, "", "check", "rules", rules)
}

// dashboardQueries are those of panels and variables that are PromQL.
func dashboardQueries(t *testing.T) (queries []string) {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
	}
	raw, err := os.ReadFile(repository + "/examples/monitoring/dashboard.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &dashboard))
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			queries = append(queries, target.Expr)
		}
	}
	require.NotEmpty(t, queries)
	return queries
}

// What Grafana asks for when it imports a dashboard is each input by its name, once.
func TestDashboardInputs(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(repository + "/examples/monitoring/dashboard.json")
	require.NoError(t, err)
	var dashboard struct {
		ID     any
		Inputs []struct{ Name, Type, PluginID string } `json:"__inputs"`
		Panels []struct{ ID int }
	}
	require.NoError(t, json.Unmarshal(raw, &dashboard))
	require.Nil(t, dashboard.ID)
	require.Len(t, dashboard.Inputs, 1)
	require.Equal(t, "DS_PROMETHEUS", dashboard.Inputs[0].Name)
	require.Equal(t, "datasource", dashboard.Inputs[0].Type)
	require.Equal(t, "prometheus", dashboard.Inputs[0].PluginID)
	sources := regexp.MustCompile(`"type": "prometheus",\s*"uid": "([^"]*)"`).FindAllSubmatch(raw, -1)
	require.Greater(t, len(sources), len(dashboard.Panels))
	for _, s := range sources {
		require.Equal(t, "${DS_PROMETHEUS}", string(s[1]))
	}
	ids := make(map[int]bool)
	for _, p := range dashboard.Panels {
		require.False(t, ids[p.ID], "two panels have the id %d", p.ID)
		ids[p.ID] = true
	}
}

// A ceiling is a line of its own where the other series of its panel are stacked, not one on top of them.
func TestDashboardCeilings(t *testing.T) {
	t.Parallel()
	var dashboard struct {
		Panels []struct {
			Title       string
			FieldConfig struct {
				Defaults struct {
					Custom struct{ Stacking struct{ Mode string } }
				}
				Overrides []struct {
					Properties []struct {
						ID    string
						Value any
					}
				}
			}
		}
	}
	raw, err := os.ReadFile(repository + "/examples/monitoring/dashboard.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &dashboard))
	ceilings := 0
	for _, p := range dashboard.Panels {
		for _, override := range p.FieldConfig.Overrides {
			stacking := p.FieldConfig.Defaults.Custom.Stacking.Mode
			for _, property := range override.Properties {
				if property.ID == "custom.stacking" {
					stacking, _ = property.Value.(map[string]any)["mode"].(string)
				}
			}
			require.Equal(t, "none", stacking, p.Title)
			ceilings++
		}
	}
	require.Equal(t, 3, ceilings, "max_connections, memory_limit, descriptors")
}

// Whatever dashboard, alerts and docs name is there, and the former show all there is.
func TestDocumentedMetrics(t *testing.T) {
	t.Parallel()
	h := startObserved(t, strings.Replace(openAndLimited, "tcp:\n", "tcp:\n  cluster: {redis: {addrs: [\"127.0.0.1:1\"]}}\n", 1))
	require.Equal(t, "x", h.dial("echo").ask("x"))
	scrape := h.scrape()
	name := regexp.MustCompile(`\brr_tcp_\w+`)
	exist := make(map[string]bool)
	for _, series := range name.FindAllString(scrape, -1) {
		exist[series] = true
	}
	shown := make(map[string]bool)
	for _, file := range []string{
		"examples/monitoring/dashboard.json", "examples/monitoring/alerts.yaml", "docs/monitoring.md", "docs/operations.md",
		"docs/troubleshooting.md",
	} {
		content, err := os.ReadFile(filepath.Join(repository, file))
		require.NoError(t, err)
		named := name.FindAllString(string(content), -1)
		require.NotEmpty(t, named, file)
		for _, series := range named {
			require.True(t, exist[series], "%s names %s, which does not exist", file, series)
			shown[strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(series, "_bucket"), "_count"), "_sum")] = true
		}
	}
	for _, declared := range regexp.MustCompile(`(?m)^# TYPE (rr_tcp_\w+)`).FindAllStringSubmatch(scrape, -1) {
		require.True(t, shown[declared[1]], "nobody shows %s", declared[1])
	}

	families := make(map[string]bool) // of the dashboard, which shows RoadRunner's and Go's, too
	for _, f := range regexp.MustCompile(`(?m)^(\w+)[{ ]`).FindAllStringSubmatch(scrape, -1) {
		families[f[1]] = true
	}
	selector := regexp.MustCompile(`(\w+)\{`)
	for _, query := range dashboardQueries(t) {
		for _, series := range selector.FindAllStringSubmatch(query, -1) {
			require.True(t, families[series[1]], "nobody has %s: %s", series[1], query)
		}
		require.Equal(t, strings.Count(query, "{"), strings.Count(query, `{server=~"$server",job=~"$job",instance=~"$instance"`)+
			strings.Count(query, `{job=~"$job",instance=~"$instance"`), "a series that the variables do not select: %s", query)
	}

	labels := make(map[string]bool)
	for _, l := range regexp.MustCompile(`[{,](\w+)="`).FindAllStringSubmatch(scrape, -1) {
		labels[l[1]] = true
	}
	labels["instance"] = true // Prometheus adds it
	for _, query := range dashboardQueries(t) {
		for _, by := range regexp.MustCompile(`by \(([^)]*)\)`).FindAllStringSubmatch(query, -1) {
			for _, l := range strings.Split(by[1], ", ") {
				require.True(t, labels[l], "no metric has the label %s: %s", l, query)
			}
		}
	}
}
