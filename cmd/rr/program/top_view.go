package program

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/rrtcp/tcp/internal/server"
	"github.com/rrtcp/tcp/internal/settings"
	"github.com/rrtcp/tcp/internal/telemetry"
)

// topWorkers is how many workers are shown: those that computed most.
const topWorkers = 10

// topLines is what happened between two samples.
func topLines(before, now sample) []string {
	seconds := now.at.Sub(before.at).Seconds()
	var text strings.Builder
	between := trafficBetween(before.stats, now.stats)
	var packets int64
	for _, t := range between {
		packets += t.Packets
	}
	fmt.Fprintf(&text, "%s  connections: %d  packets/s: %.0f  waiting for a worker: %d\n",
		now.at.Format(time.TimeOnly), now.stats.Connections, rate(packets, seconds), now.stats.ExchangesWaiting)
	text.WriteString("buffered: " + size(float64(now.stats.BufferedBytes)))
	if now.stats.MemoryLimit > 0 {
		text.WriteString(" of " + size(float64(now.stats.MemoryLimit)))
	}
	if len(now.stats.Nodes) > 0 {
		fmt.Fprintf(&text, "  nodes: %d  that do not answer: %d", len(now.stats.Nodes), now.stats.Unreachable)
	}
	text.WriteString("\n" + workerLine(now.workers) + "\n\n")
	writeServers(&text, now.stats, between, seconds)
	text.WriteString("\n")
	writeWorkers(&text, before, now, seconds)
	return strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
}

// workerLine counts the workers of this node by state.
func workerLine(workers []telemetry.Worker) string {
	states := make(map[string]int)
	var memory uint64
	for _, w := range workers {
		states[w.StatusStr]++
		memory += w.MemoryUsage
	}
	line := fmt.Sprintf("workers: %d", len(workers))
	for _, state := range settings.SortedKeys(states) {
		line += fmt.Sprintf("  %s: %d", state, states[state])
	}
	return line + "  memory: " + size(float64(memory))
}

// trafficBetween is what the servers have done between two samples. Of a cluster it is the sum of the nodes that are in both: another
// one's counters have what it did before, too.
func trafficBetween(before, now server.Stats) map[string]server.Traffic {
	nodesBefore, sum := nodesOf(before), make(map[string]server.Traffic)
	for id, node := range nodesOf(now) {
		if was, ok := nodesBefore[id]; ok {
			for name, t := range node.Traffic {
				sum[name] = server.SumTraffic(sum[name], since(was.Traffic[name], t))
			}
		}
	}
	return sum
}

// nodesOf are those of the cluster, or this one alone.
func nodesOf(s server.Stats) map[string]server.Stats {
	if len(s.Nodes) == 0 {
		return map[string]server.Stats{"": s}
	}
	return s.Nodes
}

func since(before, t server.Traffic) server.Traffic {
	t.Packets = growth(before.Packets, t.Packets)
	t.Received = growth(before.Received, t.Received)
	t.Sent = growth(before.Sent, t.Sent)
	t.Exchanges = slices.Clone(t.Exchanges)
	for i, n := range before.Exchanges[:min(len(before.Exchanges), len(t.Exchanges))] {
		t.Exchanges[i] = growth(n, t.Exchanges[i])
	}
	return t
}

func writeServers(text *strings.Builder, now server.Stats, between map[string]server.Traffic, seconds float64) {
	table := tabwriter.NewWriter(text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "SERVER\tCONNECTIONS\tPACKETS/S\tRECEIVED/S\tSENT/S\tMEDIAN\tSLOWEST\t")
	for _, name := range settings.SortedKeys(now.Servers) {
		t := between[name]
		median, slowest := durations(t.Exchanges, now.ExchangeBounds)
		fmt.Fprintf(table, "%s\t%d\t%.0f\t%s\t%s\t%s\t%s\t\n", name, now.Servers[name], rate(t.Packets, seconds),
			size(rate(t.Received, seconds)), size(rate(t.Sent, seconds)), median, slowest)
	}
	_ = table.Flush()
}

func writeWorkers(text *strings.Builder, before, now sample, seconds float64) {
	execs := make(map[int64]uint64)
	for _, w := range before.workers {
		execs[w.Pid] = w.NumExecs
	}
	workers := slices.Clone(now.workers)
	slices.SortFunc(workers, func(a, b telemetry.Worker) int {
		return cmp.Or(cmp.Compare(b.CPUPercent, a.CPUPercent), cmp.Compare(a.Pid, b.Pid))
	})
	table := tabwriter.NewWriter(text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "PID\tSTATUS\tEXECS/S\tMEMORY\tCPU\tAGE\t")
	for _, w := range workers[:min(len(workers), topWorkers)] {
		fmt.Fprintf(table, "%d\t%s\t%.0f\t%s\t%.1f%%\t%s\t\n", w.Pid, w.StatusStr, rate(growth(execs[w.Pid], w.NumExecs), seconds),
			size(float64(w.MemoryUsage)), w.CPUPercent, now.at.Sub(time.Unix(0, w.Created)).Round(time.Second))
	}
	_ = table.Flush()
}

// growth is what a counter grew by; 0 where it fell: it has begun anew.
func growth[N int64 | uint64](before, now N) N { return max(now, before) - before }

func rate[N int64 | uint64](n N, seconds float64) float64 {
	if seconds <= 0 {
		return 0
	}
	return float64(n) / seconds
}

// size counts as the config does: 1 KB is 1024 bytes.
func size(bytes float64) string {
	switch {
	case bytes < 1<<10:
		return fmt.Sprintf("%.0f B", bytes)
	case bytes < 1<<20:
		return fmt.Sprintf("%.1f KB", bytes/(1<<10))
	}
	return fmt.Sprintf("%.1f MB", bytes/(1<<20))
}

// durations says below which bound half of the exchanges were, and all; "-" where there were none.
func durations(counts []uint64, bounds []float64) (median, slowest string) {
	var total, sum uint64
	for _, n := range counts {
		total += n
	}
	median, slowest = "-", "-"
	for i, n := range counts {
		if n == 0 {
			continue
		}
		if sum += n; 2*sum >= total && median == "-" {
			median = upTo(i, bounds)
		}
		slowest = upTo(i, bounds)
	}
	return median, slowest
}

func upTo(i int, bounds []float64) string {
	if i < len(bounds) {
		return "<" + seconds(bounds[i])
	}
	return ">" + seconds(bounds[len(bounds)-1])
}

func seconds(s float64) string { return time.Duration(s * float64(time.Second)).String() }
