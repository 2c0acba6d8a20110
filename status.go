package tcp

import (
	"net/http"

	"github.com/roadrunner-server/api/v4/plugins/v1/status"
)

// Status tells RoadRunner's status plugin whether any worker is alive. One that is replaced by a Reset is.
func (p *Plugin) Status() (*status.Status, error) { return statusOf(p.isAlive()), nil }

// Ready tells RoadRunner's status plugin whether clients are served: every address listens, a worker is ready to take an
// event, and the plugin is not stopping. A Reset under way changes nothing: connections are accepted, exchanges wait.
func (p *Plugin) Ready() (*status.Status, error) { return statusOf(p.isReady()), nil }

func statusOf(ok bool) *status.Status {
	if !ok {
		return &status.Status{Code: http.StatusServiceUnavailable}
	}
	return &status.Status{Code: http.StatusOK}
}

func (p *Plugin) isAlive() bool {
	p.mu.Lock()
	e := p.exchanger
	p.mu.Unlock()
	return e != nil && e.isAlive()
}

func (p *Plugin) isReady() bool {
	e, err := p.serving() // which is set when all listen
	return err == nil && e.isReady()
}
