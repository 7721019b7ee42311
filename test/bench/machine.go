package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/test/lab"
)

// machine is what was measured, and where.
type machine struct {
	Date   time.Time `json:"date"`
	Commit string    `json:"commit"`
	Weft   string    `json:"weft"`
	CPU    string    `json:"cpu"`
	CPUs   int       `json:"cpus"`
	Memory uint64    `json:"memory_bytes"`
	System string    `json:"system"`
	Kernel string    `json:"kernel"`
	Docker string    `json:"docker"`
	Consul string    `json:"consul"`
	Load   [2]string `json:"load"` // 1-minute load average before and after
}

func inspect(ctx context.Context, l *lab.Lab) (machine, error) {
	m := machine{
		Date: time.Now().Truncate(time.Second), CPU: field("/proc/cpuinfo", "model name"), CPUs: runtime.NumCPU(),
		System: strings.Trim(field("/etc/os-release", "PRETTY_NAME"), `"`),
	}
	m.Load[0] = load()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return m, fmt.Errorf("ask for the kernel's version: %w", err)
	}
	m.Kernel = unix.ByteSliceToString(u.Release[:])
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return m, fmt.Errorf("ask for the size of memory: %w", err)
	}
	m.Memory = info.Totalram * uint64(info.Unit)
	h := l.Hosts()[0]
	var err error
	if m.Docker, err = h.Docker(ctx, "version", "--format", "{{.Server.Version}}"); err != nil {
		return m, err
	}
	// The daemon's own program, whatever its path is called now.
	if m.Weft, err = h.Run(ctx, fmt.Sprintf("/proc/%d/exe", h.PID(lab.Weft)), "version"); err != nil {
		return m, err
	}
	if out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*").Output(); err == nil {
		m.Commit = strings.TrimSpace(string(out))
	}
	m.Consul, err = consulVersion(ctx, l.Consul(1))
	return m, err
}

func (m *machine) write(w io.Writer) {
	align(w, [][]string{
		{"", ""},
		{"date", m.Date.UTC().Format(time.RFC3339)},
		{"commit", m.Commit},
		{"weft", m.Weft},
		{"machine", fmt.Sprintf("%d × %s, %.1f GiB", m.CPUs, m.CPU, float64(m.Memory)/(1<<30))},
		{"kernel", m.Kernel + ", " + m.System},
		{"Docker", m.Docker},
		{"Consul", m.Consul},
		{"load before, after", m.Load[0] + ", " + m.Load[1]},
	})
}

// load is the load average of the last minute.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(text), " ")
	return one
}

// field finds "name: value" or "name=value" in a file; "unknown" if there is none.
func field(path, name string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(text)) {
		i := strings.IndexAny(line, ":=")
		if i > 0 && strings.TrimSpace(line[:i]) == name {
			return strings.TrimSpace(line[i+1:])
		}
	}
	return "unknown"
}

func consulVersion(ctx context.Context, c *lab.Consul) (string, error) {
	client := c.HTTPClient()
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL()+"/v1/agent/self", http.NoBody)
	if err != nil {
		return "", fmt.Errorf("ask for Consul's version: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask for Consul's version: %w", err)
	}
	defer resp.Body.Close()
	var self struct{ Config struct{ Version string } }
	if err := json.NewDecoder(resp.Body).Decode(&self); err != nil {
		return "", fmt.Errorf("ask for Consul's version: %w", err)
	}
	return self.Config.Version, nil
}
