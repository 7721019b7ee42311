package traffic

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// window is the time in which something is counted.
type window struct {
	begin    time.Time
	took     time.Duration
	own, all time.Duration // CPU time: this process's, everybody's
	units    float64       // what was counted
}

func openWindow() window {
	return window{begin: time.Now(), own: ownCPU(), all: allCPU()}
}

func (w *window) close() {
	w.took = time.Since(w.begin)
	w.own, w.all = ownCPU()-w.own, allCPU()-w.all
}

// result is a rate; what it was that was counted knows the caller.
func (w *window) result() Result {
	r := Result{Outside: max(0, (w.all-w.own).Seconds()/w.took.Seconds())}
	if w.units > 0 {
		r.Value = w.units / w.took.Seconds()
		r.CPU = float64(w.own.Microseconds()) / w.units
	}
	return r
}

func ownCPU() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// allCPU is the CPU time that was used on this machine or taken from it. It is
// told in hundredths of a second on every machine (USER_HZ).
func allCPU() time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	var user, nice, system, idle, iowait, irq, softirq, steal int64
	if _, err := fmt.Sscanf(line, "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &iowait, &irq, &softirq, &steal); err != nil {
		return 0
	}
	return time.Duration(user+nice+system+irq+softirq+steal) * 10 * time.Millisecond
}
