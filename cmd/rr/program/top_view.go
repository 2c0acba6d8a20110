package program

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// topWorkers is how many workers are shown: those that computed most.
const topWorkers = 10

// topLines is what happened between two samples.
func topLines(before, now sample) []string {
	seconds := now.at.Sub(before.at).Seconds()
	var text strings.Builder
	var packets float64
	for name, t := range now.stats.Traffic {
		packets += rate(before.stats.Traffic[name].Packets, t.Packets, seconds)
	}
	fmt.Fprintf(&text, "%s  connections: %d  packets/s: %.0f  waiting for a worker: %d\n",
		now.at.Format(time.TimeOnly), now.stats.Connections, packets, now.stats.ExchangesWaiting)
	text.WriteString("buffered: " + size(float64(now.stats.BufferedBytes)))
	if now.stats.MemoryLimit > 0 {
		text.WriteString(" of " + size(float64(now.stats.MemoryLimit)))
	}
	if len(now.stats.Nodes) > 0 {
		fmt.Fprintf(&text, "  nodes: %d  that do not answer: %d", len(now.stats.Nodes), now.stats.Unreachable)
	}
	text.WriteString("\n" + workerLine(now.workers) + "\n\n")
	writeServers(&text, before.stats, now.stats, seconds)
	text.WriteString("\n")
	writeWorkers(&text, before, now, seconds)
	return strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
}

// workerLine counts the workers of this node by state.
func workerLine(workers []workerState) string {
	states := make(map[string]int)
	var memory uint64
	for _, w := range workers {
		states[w.StatusStr]++
		memory += w.MemoryUsage
	}
	line := fmt.Sprintf("workers: %d", len(workers))
	for _, state := range sortedKeys(states) {
		line += fmt.Sprintf("  %s: %d", state, states[state])
	}
	return line + "  memory: " + size(float64(memory))
}

func writeServers(text *strings.Builder, before, now stats, seconds float64) {
	table := tabwriter.NewWriter(text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "SERVER\tCONNECTIONS\tPACKETS/S\tRECEIVED/S\tSENT/S\tMEDIAN\tSLOWEST\t")
	for _, name := range sortedKeys(now.Servers) {
		b, n := before.Traffic[name], now.Traffic[name]
		median, slowest := durations(b.Exchanges, n.Exchanges, now.ExchangeBounds)
		fmt.Fprintf(table, "%s\t%d\t%.0f\t%s\t%s\t%s\t%s\t\n", name, now.Servers[name], rate(b.Packets, n.Packets, seconds),
			size(rate(b.Received, n.Received, seconds)), size(rate(b.Sent, n.Sent, seconds)), median, slowest)
	}
	_ = table.Flush()
}

func writeWorkers(text *strings.Builder, before, now sample, seconds float64) {
	execs := make(map[int64]uint64)
	for _, w := range before.workers {
		execs[w.Pid] = w.NumExecs
	}
	workers := slices.Clone(now.workers)
	slices.SortFunc(workers, func(a, b workerState) int {
		return cmp.Or(cmp.Compare(b.CPUPercent, a.CPUPercent), cmp.Compare(a.Pid, b.Pid))
	})
	table := tabwriter.NewWriter(text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "PID\tSTATUS\tEXECS/S\tMEMORY\tCPU\tAGE\t")
	for _, w := range workers[:min(len(workers), topWorkers)] {
		fmt.Fprintf(table, "%d\t%s\t%.0f\t%s\t%.1f%%\t%s\t\n", w.Pid, w.StatusStr, rate(execs[w.Pid], w.NumExecs, seconds),
			size(float64(w.MemoryUsage)), w.CPUPercent, now.at.Sub(time.Unix(0, w.Created)).Round(time.Second))
	}
	_ = table.Flush()
}

// rate is how much a counter grew each second; 0 where it fell: its node has left, or begun anew.
func rate[N int64 | uint64](before, now N, seconds float64) float64 {
	if now <= before || seconds <= 0 {
		return 0
	}
	return float64(now-before) / seconds
}

func size(bytes float64) string {
	switch {
	case bytes < 1e3:
		return fmt.Sprintf("%.0f B", bytes)
	case bytes < 1e6:
		return fmt.Sprintf("%.1f kB", bytes/1e3)
	}
	return fmt.Sprintf("%.1f MB", bytes/1e6)
}

// durations says below which bound half of the exchanges were that ended between two samples, and all; "-" where none did.
func durations(before, now []uint64, bounds []float64) (median, slowest string) {
	counts := slices.Clone(now)
	var total, sum uint64
	for i := range counts {
		if i < len(before) {
			counts[i] -= min(before[i], counts[i])
		}
		total += counts[i]
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

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
