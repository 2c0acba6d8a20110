package tests

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// There is no Kubernetes here to ask: what is checked is that the parts fit together and hold a good configuration.
func TestKubernetesManifests(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(repository + "/examples/kubernetes/rrtcp.yaml")
	require.NoError(t, err)
	type port struct {
		Name          string
		ContainerPort int    `yaml:"containerPort"`
		TargetPort    string `yaml:"targetPort"`
	}
	type probe struct {
		HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
	}
	type manifest struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Metadata   struct{ Name string }
		Data       map[string]string
		Spec       struct {
			Ports    []port
			Selector map[string]any
			Strategy map[string]any
			Template struct {
				Metadata struct{ Labels, Annotations map[string]string }
				Spec     struct {
					Grace      int `yaml:"terminationGracePeriodSeconds"`
					Containers []struct {
						Command   []string
						Resources struct{ Limits map[string]string }
						Ports     []port
						Startup   probe `yaml:"startupProbe"`
						Readiness probe `yaml:"readinessProbe"`
						Liveness  probe `yaml:"livenessProbe"`
						Lifecycle struct {
							PreStop struct{ Exec struct{ Command []string } } `yaml:"preStop"`
						}
						Mounts []struct{ Name, MountPath string } `yaml:"volumeMounts"`
					}
					Volumes []struct {
						Name      string
						ConfigMap struct{ Name string } `yaml:"configMap"`
					}
				}
			}
		}
	}
	found := make(map[string]manifest)
	for _, text := range strings.Split(string(content), "\n---\n") {
		var m manifest
		require.NoError(t, yaml.Unmarshal([]byte(text), &m))
		require.NotEmpty(t, m.APIVersion)
		require.Equal(t, "rrtcp", m.Metadata.Name)
		found[m.Kind] = m
	}
	require.Len(t, found, 4)

	config := found["ConfigMap"].Data["rr.yaml"]
	require.Empty(t, mistakes(t, config))
	section := fromYAML(t, config).(map[string]any)
	require.NoError(t, compileSchema(t).Validate(section["tcp"]))

	pod := found["Deployment"].Spec.Template
	container := pod.Spec.Containers[0]
	require.Equal(t, []string{"sh", "-c"}, container.Command[:2])
	var descriptors int
	_, err = fmt.Sscanf(container.Command[2], "ulimit -n %d && exec rr serve -c /etc/app/rr.yaml", &descriptors)
	require.NoError(t, err)
	require.Equal(t, "config", container.Mounts[0].Name)
	require.Equal(t, "rrtcp", pod.Spec.Volumes[0].ConfigMap.Name)
	named := make(map[string]string)
	for _, p := range container.Ports {
		named[p.Name] = fmt.Sprint(p.ContainerPort)
	}
	require.Equal(t, "0.0.0.0:"+named["status"], section["status"].(map[string]any)["address"])
	require.Equal(t, "0.0.0.0:"+named["metrics"], section["metrics"].(map[string]any)["address"])
	require.Equal(t, named["metrics"], pod.Metadata.Annotations["prometheus.io/port"])
	require.Contains(t, config, "addr: tcp://0.0.0.0:"+named["smtp"])
	for path, p := range map[string]probe{"/ready?plugin=tcp": container.Readiness, "/health?plugin=tcp": container.Liveness} {
		require.Equal(t, path, p.HTTPGet.Path)
		require.Equal(t, "status", p.HTTPGet.Port)
	}
	require.Equal(t, container.Readiness.HTTPGet, container.Startup.HTTPGet)
	require.Equal(t, "smtp", found["Service"].Spec.Ports[0].TargetPort)
	for key, value := range found["Service"].Spec.Selector {
		require.Equal(t, pod.Metadata.Labels[key], value)
	}

	require.Equal(t, []string{"php", "/etc/app/drain.php"}, container.Lifecycle.PreStop.Exec.Command)
	grace, err := time.ParseDuration(section["endure"].(map[string]any)["grace_period"].(string))
	require.NoError(t, err)
	var pause, wait int // of drain.php, in seconds
	for format, n := range map[string]*int{`sleep\((\d+)\);\n\s*for`: &pause, `time\(\) \+ (\d+);`: &wait} {
		m := regexp.MustCompile(format).FindStringSubmatch(found["ConfigMap"].Data["drain.php"])
		require.NotNil(t, m, format)
		*n, _ = strconv.Atoi(m[1])
		require.NotZero(t, *n)
	}
	require.Less(t, grace+time.Duration(pause+wait)*time.Second, time.Duration(pod.Spec.Grace)*time.Second)
	require.Equal(t, map[string]any{"maxUnavailable": 0, "maxSurge": 1}, found["Deployment"].Spec.Strategy["rollingUpdate"])

	// The sums of docs/operations.md.
	var sized struct {
		TCP struct {
			MaxConnections int    `yaml:"max_connections"`
			MemoryLimit    string `yaml:"memory_limit"`
			Pool           struct {
				NumWorkers int `yaml:"num_workers"`
				Supervisor struct {
					MaxWorkerMemory int `yaml:"max_worker_memory"`
				}
			}
		}
	}
	require.NoError(t, yaml.Unmarshal([]byte(config), &sized))
	tcp := sized.TCP
	require.Equal(t, tcp.MaxConnections+28*tcp.Pool.NumWorkers+36, descriptors)
	require.Equal(t, "256MB", tcp.MemoryLimit)
	memory := 50<<20 + tcp.MaxConnections*10<<10 + 256<<20 + tcp.Pool.NumWorkers*tcp.Pool.Supervisor.MaxWorkerMemory<<20
	require.Equal(t, "1Gi", container.Resources.Limits["memory"])
	require.Less(t, memory, 1<<30)
	require.Greater(t, memory, 1<<30*8/10, "some air, not much")
}

// What preStop runs waits for clients that are connected.
func TestKubernetesDrain(t *testing.T) {
	t.Parallel()
	interpreter := php(t)
	h := startObserved(t, openAndLimited)
	c := h.dial("echo")
	require.Equal(t, "x", c.ask("x"))
	require.Contains(t, h.scrape(), `rr_tcp_connections{server="echo"} 1`)

	content, err := os.ReadFile(repository + "/examples/kubernetes/rrtcp.yaml")
	require.NoError(t, err)
	var config struct{ Data map[string]string }
	require.NoError(t, yaml.Unmarshal([]byte(strings.Split(string(content), "\n---\n")[0]), &config))
	script := strings.NewReplacer("sleep(5)", "sleep(0)", "sleep(1)", `(print ".") && usleep(1000)`, "127.0.0.1:2112", h.metrics)
	file := filepath.Join(t.TempDir(), "drain.php")
	require.NoError(t, os.WriteFile(file, []byte(script.Replace(config.Data["drain.php"])), 0o600))
	drain := exec.Command(interpreter, "-d", "output_buffering=0", file)
	out, err := drain.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, drain.Start())
	defer time.AfterFunc(patience, func() { _ = drain.Process.Kill() }).Stop()
	_, err = io.ReadFull(out, make([]byte, 3))
	require.NoError(t, err, "it waits")
	require.Equal(t, "still served", c.ask("still served"))
	require.NoError(t, c.Close())
	_, err = io.Copy(io.Discard, out)
	require.NoError(t, err)
	require.NoError(t, drain.Wait())
}
