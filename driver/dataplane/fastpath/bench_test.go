package fastpath

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
)

// manyPlaces are containers of other hosts.
func manyPlaces(count int) []Place {
	out := make([]Place, count)
	for i := range out {
		b := [3]byte{byte(i >> 16), byte(i >> 8), byte(i)}
		out[i] = Place{MAC: overlay.MAC{2, 0, 10, b[0], b[1], b[2]}, VTEP: netip.AddrFrom4([4]byte{192, 0, 2, byte(2 + i%200)})}
	}
	return out
}

// memory is what a table takes, in bytes, as the kernel counts it.
func memory(b *testing.B, m *ebpf.Map) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", m.FD()))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := bytes.Cut(text, []byte("memlock:"))
	first, _, _ := bytes.Cut(rest, []byte("\n"))
	n, err := strconv.ParseFloat(string(bytes.TrimSpace(first)), 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// worked is the time that the calling thread has had a CPU, which other programs on the
// machine do not make longer.
func worked(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPlaces programs 10,000 containers of other hosts into an empty network, and
// one more into a network that has them.
func BenchmarkPlaces(b *testing.B) {
	const count = 10_000
	places := manyPlaces(count + 1)
	open := func(b *testing.B) *Plane {
		b.Helper()
		p, err := Open()
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { p.Close() })
		return p
	}
	set := func(b *testing.B, p *Plane, n int) {
		b.Helper()
		if _, err := p.SetNetwork(Network{VNI: 4097, Inner: 1, Outer: 1, Places: places[:n]}); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("10000", func(b *testing.B) {
		p := open(b)
		set(b, p, 0)
		empty := memory(b, p.objects.WeftPlaces)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var cpu time.Duration
		done := 0.0
		for b.Loop() {
			from := worked(b)
			set(b, p, count)
			cpu += worked(b) - from
			b.StopTimer()
			done++
			b.ReportMetric(float64(cpu.Microseconds())/1000/done, "cpu-ms/op")
			b.ReportMetric(memory(b, p.objects.WeftPlaces)-empty, "B/10000entries")
			b.ReportMetric(empty, "B/empty")
			set(b, p, 0)
			b.StartTimer()
		}
	})
	b.Run("one more", func(b *testing.B) {
		p := open(b)
		i := 0
		for b.Loop() {
			set(b, p, count+i%2)
			i++
		}
	})
}
