package names

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/weft-net/weft/test/lab"
)

// BenchmarkLatency is one query after the other from one socket, through weft
// and, as docker-…, asked of Docker's own resolver in the same container.
func BenchmarkLatency(b *testing.B) {
	n := network(b, "latency")
	asks := start(b, "h1", "asks", "--network", n)
	start(b, "h1", "near", "--network", n)
	start(b, "h2", "far", "--network", n)
	for _, c := range []struct {
		what, name string
		mark       int
	}{
		{"local", "near.", 0},
		{"docker-local", "near.", 0x77},
		{"remote", "far.", 0},
		{"forwarded", "example.com.", 0},
		{"docker-forwarded", "example.com.", 0x77},
	} {
		b.Run(c.what, func(b *testing.B) {
			conn := asks.dialMarked("udp4", c.mark)
			defer conn.Close()
			report(b, measure(b, conn, c.name, b.N))
		})
	}
}

// pace is how many queries a second are asked to measure one: fewer than weft
// bounds a sandbox to.
const pace = 5000

// measure asks n times and gives how long each took, sorted.
func measure(tb testing.TB, conn net.Conn, name string, n int) []time.Duration {
	tb.Helper()
	msg, err := new(dns.Msg).SetQuestion(name, dns.TypeA).Pack()
	if err != nil {
		tb.Fatal(err)
	}
	buf, out := make([]byte, 4096), make([]time.Duration, 0, n)
	start := time.Now()
	for i := range n {
		for time.Since(start) < time.Duration(i)*time.Second/pace { // a sleep would measure the waking too
			runtime.Gosched()
		}
		began := time.Now()
		_ = conn.SetDeadline(began.Add(6 * time.Second))
		if _, err := conn.Write(msg); err != nil {
			tb.Fatal(err)
		}
		if _, err := conn.Read(buf); err != nil {
			tb.Fatal(err)
		}
		out = append(out, time.Since(began))
	}
	slices.Sort(out)
	return out
}

func report(b *testing.B, all []time.Duration) {
	b.Helper()
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkFlood is what another container sees while one sends queries as fast
// as it can; how many of them are answered; and what weft itself burns, in percent
// of one CPU.
func BenchmarkFlood(b *testing.B) {
	n := network(b, "flood")
	bad, good := start(b, "h1", "floods", "--network", n), start(b, "h1", "asks", "--network", n)
	for _, c := range []struct{ what, name string }{{"our-names", "asks."}, {"forwarded", "example.com."}} {
		b.Run(c.what, func(b *testing.B) {
			conn, victim := bad.dial("udp4"), good.dial("udp4")
			defer conn.Close()
			defer victim.Close()
			ctx, stop := context.WithCancel(b.Context())
			answers := make(chan int)
			go func() {
				buf, n := make([]byte, 4096), 0
				for {
					if _, err := conn.Read(buf); err != nil {
						answers <- n
						return
					}
					n++
				}
			}()
			msg, err := new(dns.Msg).SetQuestion(c.name, dns.TypeA).Pack()
			if err != nil {
				b.Fatal(err)
			}
			began, burnt := time.Now(), cpu(b, cluster.Host("h1").PID(lab.Weft))
			go func() {
				for ctx.Err() == nil {
					_, _ = conn.Write(msg)
				}
			}()
			report(b, measure(b, victim, "asks.", b.N))
			took := time.Since(began)
			burnt = cpu(b, cluster.Host("h1").PID(lab.Weft)) - burnt
			stop()
			conn.Close()
			b.ReportMetric(100*burnt.Seconds()/took.Seconds(), "weft-cpu-%")
			b.ReportMetric(float64(<-answers)/took.Seconds(), "flood-answers/s")
		})
	}
}

// cpu is how much a process has used.
func cpu(tb testing.TB, pid int) time.Duration {
	tb.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		tb.Fatal(err)
	}
	// utime and stime, the 14th and 15th, in ticks of 10 ms (proc_pid_stat(5)).
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')'):]))
	ticks := 0
	for _, f := range fields[12:14] {
		n, err := strconv.Atoi(f)
		if err != nil {
			tb.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
