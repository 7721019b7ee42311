package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// reading is what has been used until a moment. The difference of two is what was used
// between them.
type reading struct {
	at        time.Time
	self      time.Duration // CPU of this process, which is all hosts
	consul    time.Duration // CPU of the servers; what ended servers have used is not in it
	machine   time.Duration // CPU of all programs of this machine
	fromStore uint64        // bytes
	toStore   uint64        // bytes
	requests  uint64
	writes    uint64
	sent      uint64 // datagrams
	sentBytes uint64
	heard     uint64 // bytes
}

// read reads all counts now.
func (c *cluster) read() (reading, error) {
	r := reading{at: time.Now()}
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return r, fmt.Errorf("read this process's CPU: %w", err)
	}
	r.self = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	var err error
	if r.machine, err = cpuOfAll(); err != nil {
		return r, err
	}
	for _, s := range c.servers {
		cpu, err := cpuOf(s.PID())
		if err != nil {
			return r, err
		}
		r.consul += cpu
	}
	for _, h := range c.all() {
		n := &h.wire.counts
		r.fromStore += n.consulIn.Load()
		r.toStore += n.consulOut.Load()
		r.requests += n.requests.Load()
		r.writes += n.writes.Load()
		r.sent += n.sent.Load()
		r.sentBytes += n.sentBytes.Load()
		r.heard += n.heardBytes.Load()
	}
	return r, nil
}

// tick is the unit of times in /proc/PID/stat: USER_HZ, which is 100 on all of Linux's
// architectures that weft runs on.
const tick = 10 * time.Millisecond

// cpuOf is the CPU time of a process, user and system (proc_pid_stat(5)).
func cpuOf(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read a server's CPU: %w", err)
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("read a server's CPU: %q", text)
	}
	return ticks(fields[11:13]) // utime and stime, the fields 14 and 15 of all
}

// cpuOfAll is the CPU time of all programs and of the kernel, in all modes but idle,
// iowait and what other virtual machines took (proc_stat(5)).
func cpuOfAll() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("read the machine's CPU: %w", err)
	}
	first, _, _ := bytes.Cut(text, []byte("\n"))
	fields := bytes.Fields(first)
	if len(fields) < 8 {
		return 0, fmt.Errorf("read the machine's CPU: %q", first)
	}
	return ticks(slices.Concat(fields[1:4], fields[6:8])) // user, nice, system; irq, softirq
}

// ticks adds times of the kernel's.
func ticks(fields [][]byte) (time.Duration, error) {
	var sum int64
	for _, field := range fields {
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read a CPU time of the kernel's: %w", err)
		}
		sum += n
	}
	return time.Duration(sum) * tick, nil
}

// use is what was used between two readings.
type use struct {
	took         time.Duration
	self, consul time.Duration
	others       time.Duration // CPU of programs that are no part of this
	fromStore    float64       // bytes
	toStore      float64
	requests     float64
	writes       float64
	sent         float64
	sentBytes    float64
	heard        float64
}

func (r reading) since(before reading) use {
	return use{
		took: r.at.Sub(before.at), self: r.self - before.self, consul: r.consul - before.consul,
		others:    r.machine - before.machine - (r.self - before.self) - (r.consul - before.consul),
		fromStore: float64(r.fromStore - before.fromStore), toStore: float64(r.toStore - before.toStore),
		requests: float64(r.requests - before.requests), writes: float64(r.writes - before.writes),
		sent: float64(r.sent - before.sent), sentBytes: float64(r.sentBytes - before.sentBytes), heard: float64(r.heard - before.heard),
	}
}

// beyond is what was used beyond what the idle cluster uses in the same time.
func (u use) beyond(idle use) use {
	if idle.took == 0 {
		return u
	}
	of := float64(u.took) / float64(idle.took)
	u.self -= time.Duration(of * float64(idle.self))
	u.consul -= time.Duration(of * float64(idle.consul))
	u.fromStore -= of * idle.fromStore
	u.toStore -= of * idle.toStore
	u.requests -= of * idle.requests
	u.writes -= of * idle.writes
	u.sent -= of * idle.sent
	u.sentBytes -= of * idle.sentBytes
	u.heard -= of * idle.heard
	return u
}

// heap is the memory that is in use, in bytes.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what the first one has made free for finalizers
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
