package program

import (
	"regexp"
	"strings"

	rrerrors "github.com/roadrunner-server/errors"
)

var (
	// serveError is how Endure reports the error of a plugin's Serve: as text.
	serveError = regexp.MustCompile(`(?s)^serve error from the plugin \*(\w+)\.\w+ stopping execution, error: (.*)`)
	operation  = regexp.MustCompile(`\b(\w+?)_plugin_\w+:\s+((Init|Serve) error:\s+)?`)
	inset      = regexp.MustCompile(`:\s*\n\s*`)
	lineBreak  = regexp.MustCompile(`\s*\n\s*`)
)

// explain is an error in one line. RoadRunner's errors carry the operation that failed and a kind; of these only the
// plugin's name is told.
func explain(err error) string {
	var plugin string
	for {
		e, ok := err.(*rrerrors.Error) // it has no Unwrap
		if !ok || e.Err == nil {
			break
		}
		if m := operation.FindStringSubmatch(string(e.Op) + ": "); m != nil && plugin == "" {
			plugin = m[1]
		}
		err = e.Err
	}

	text := err.Error()
	if m := serveError.FindStringSubmatch(text); m != nil {
		plugin, text = m[1], m[2]
	}
	text = operation.ReplaceAllString(text, "")
	text = inset.ReplaceAllString(strings.TrimSpace(text), ": ")
	return attribute(plugin, lineBreak.ReplaceAllString(text, "; "))
}

// attribute says which plugin a message is from, if the message does not.
func attribute(plugin, message string) string {
	if plugin == "" || strings.HasPrefix(message, plugin) {
		return message
	}
	return plugin + ": " + message
}

// lines are the errors that were joined, each as a line.
func lines(err error) (all []string) {
	for {
		e, ok := err.(*rrerrors.Error) // it has no Unwrap
		if !ok || e.Err == nil {
			break
		}
		err = e.Err
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []string{explain(err)}
	}
	for _, err := range joined.Unwrap() {
		all = append(all, lines(err)...)
	}
	return all
}
