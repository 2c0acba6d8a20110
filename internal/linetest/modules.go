package linetest

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// ofLine finds the modules that each line has in its own version: pools, goridge and loggers.
var ofLine = regexp.MustCompile(`^(github\.com/roadrunner-server/(sdk|pool|goridge)|go\.uber\.org/zap)\b`)

// testModules lists what a RoadRunner gets with the plugin. A second pool, goridge or logger would be one that it has not.
func testModules(t *testing.T, line Line) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", ".").Output()
	require.NoError(t, err)
	var found []string
	for _, module := range strings.Fields(string(out)) {
		if ofLine.MatchString(module) && !slices.Contains(found, module) {
			found = append(found, module)
		}
	}
	require.ElementsMatch(t, line.Modules, found)
}
