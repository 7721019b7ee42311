package traffic

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Measure names what is measured.
type Measure string

// What can be measured.
const (
	// TCP1 is one stream, its ends on two CPUs, in Gbit/s received.
	TCP1 Measure = "tcp1"
	// TCP4 is four streams on CPUs of the kernel's choice, in Gbit/s received.
	TCP4 Measure = "tcp4"
	// UDP is datagrams of 64 bytes, one call each to send, in packets/s received.
	UDP Measure = "udp"
	// SameCPU is one byte there and one back over TCP, both ends on one CPU: what
	// the way costs in CPU time, with little noise. In microseconds, the median.
	SameCPU Measure = "rr"
	// CrossCPU is the same with the ends on two CPUs, with what waking one costs.
	CrossCPU Measure = "rrx"
	// Connect is connections/s, one after another on one CPU: connect, a byte
	// there, a byte back, close.
	Connect Measure = "crr"
)

// Measures returns all measures, in the order in which they are told.
func Measures() []Measure {
	return []Measure{TCP1, TCP4, UDP, SameCPU, CrossCPU, Connect}
}

// ParseMeasure returns the measure of that name.
func ParseMeasure(name string) (Measure, error) {
	all := make([]string, 0, len(Measures()))
	for _, m := range Measures() {
		if string(m) == name {
			return m, nil
		}
		all = append(all, string(m))
	}
	return "", fmt.Errorf("there is no measure %q; there are %s", name, strings.Join(all, ", "))
}

// Environ is what the environment of a process that calls Run must hold.
func Environ() []string {
	return []string{"GOMAXPROCS=16", "GOGC=off", "GODEBUG=asyncpreemptoff=1"}
}

// Job is one measurement.
type Job struct {
	From, To string     // paths of the client's and the server's network namespace
	Address  netip.Addr // of the server, in To
	Measure  Measure
	Duration time.Duration // without a warm-up of a fifth of it
}

// Result is what a measurement gave.
type Result struct {
	Value   float64 `json:"value"`          // in the Measure's unit
	P99     float64 `json:"p99,omitempty"`  // SameCPU, CrossCPU: the 99th percentile, microseconds
	Lost    float64 `json:"lost,omitempty"` // UDP: share of what was sent, 0 to 1
	CPU     float64 `json:"cpu_us"`         // this process's CPU time per Gbit, packet, answer or connection, microseconds
	Outside float64 `json:"outside"`        // CPU used by others meanwhile: 1 is one CPU all the time
}

// Run does the job.
func Run(job Job) (Result, error) {
	result, err := measure(job)
	if err != nil {
		return Result{}, fmt.Errorf("measure %s to %s: %w", job.Measure, job.Address, err)
	}
	return result, nil
}

func measure(job Job) (Result, error) {
	one, two, err := twoCPUs()
	if err != nil {
		return Result{}, err
	}
	switch job.Measure {
	case TCP1:
		return streams(job, []ends{{one, two}})
	case TCP4:
		return streams(job, []ends{{anyCPU, anyCPU}, {anyCPU, anyCPU}, {anyCPU, anyCPU}, {anyCPU, anyCPU}})
	case UDP:
		return datagrams(job, ends{one, two})
	case SameCPU:
		return answers(job, ends{one, one})
	case CrossCPU:
		return answers(job, ends{one, two})
	case Connect:
		return connections(job, ends{one, one})
	}
	return Result{}, fmt.Errorf("there is no measure %q", job.Measure)
}
