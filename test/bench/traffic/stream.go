package traffic

import (
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// block is what one call sends or receives, bytes.
const block = 128 << 10

// counter is a number that one thread counts up, on a cache line of its own.
type counter struct {
	n atomic.Int64
	_ [120]byte
}

// streams measures bytes received over as many connections as there are ends.
func streams(job Job, at []ends) (Result, error) {
	pairs, err := connect(job, len(at))
	if err != nil {
		return Result{}, err
	}
	counts := make([]counter, len(pairs))
	var stop atomic.Bool
	var threads []<-chan error
	for i, p := range pairs {
		threads = append(threads,
			thread("", at[i].server, func() error { return drain(p.server, &counts[i].n) }),
			thread("", at[i].client, func() error { return pour(p.client, &stop) }))
	}
	window := watch(job.Duration, func() float64 {
		var bytes int64
		for i := range counts {
			bytes += counts[i].n.Load()
		}
		return float64(bytes) * 8 / 1e9
	})
	stop.Store(true)
	for _, p := range pairs { // wakes whoever waits
		_ = unix.Shutdown(p.client, unix.SHUT_RDWR)
		_ = unix.Shutdown(p.server, unix.SHUT_RDWR)
	}
	for _, t := range threads {
		if err := <-t; err != nil {
			return Result{}, err
		}
	}
	return window.result(), nil
}

func pour(fd int, stop *atomic.Bool) error {
	b := make([]byte, block)
	for !stop.Load() {
		if errno := send(fd, b); errno != 0 && !stop.Load() {
			return fmt.Errorf("send: %w", errno)
		}
	}
	return nil
}

func drain(fd int, count *atomic.Int64) error {
	b := make([]byte, block)
	for {
		n, errno := receive(fd, b)
		switch {
		case errno == unix.ECONNRESET:
			return nil // what was under way when the measurement ended
		case errno != 0:
			return fmt.Errorf("receive: %w", errno)
		case n == 0:
			return nil
		}
		count.Add(int64(n))
	}
}

// watch reads the count at both ends of the duration, after a warm-up.
func watch(d time.Duration, count func() float64) window {
	time.Sleep(d / 5)
	w := openWindow()
	before := count()
	time.Sleep(d)
	w.units = count() - before
	w.close()
	return w
}
