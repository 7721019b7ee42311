package machine

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/test/lab"
)

// Machine is what was measured, and where.
type Machine struct {
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

// Inspect tells what the lab runs, and where. Commit is that of the working
// directory.
func Inspect(ctx context.Context, l *lab.Lab) (Machine, error) {
	m := Machine{
		Date: time.Now().Truncate(time.Second), CPU: Field("/proc/cpuinfo", "model name"), CPUs: runtime.NumCPU(),
		System: strings.Trim(Field("/etc/os-release", "PRETTY_NAME"), `"`),
	}
	m.Load[0] = Load()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return m, fmt.Errorf("ask for the kernel's version: %w", err)
	}
	m.Kernel = upstream(unix.ByteSliceToString(u.Release[:]))
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

// Rows are all of it as a table of two columns.
func (m *Machine) Rows() [][]string {
	return [][]string{
		{"date", m.Date.UTC().Format(time.RFC3339)},
		{"commit", m.Commit},
		{"weft", m.Weft},
		{"machine", fmt.Sprintf("%d × %s, %.1f GiB", m.CPUs, m.CPU, float64(m.Memory)/(1<<30))},
		{"kernel", m.Kernel + ", " + m.System},
		{"Docker", m.Docker},
		{"Consul", m.Consul},
		{"load before, after", m.Load[0] + ", " + m.Load[1]},
	}
}

// numeric is the part of a kernel's release that kernel.org has.
var numeric = regexp.MustCompile(`^[0-9]+(\.[0-9]+)*`)

// upstream is a kernel's release without what its builder has added.
func upstream(release string) string { return cmp.Or(numeric.FindString(release), release) }

// Load is the load average of the last minute.
func Load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(text), " ")
	return one
}

// Field finds "name: value" or "name=value" in a file; "unknown" if there is none.
func Field(path, name string) string {
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
	var self struct{ Config struct{ Version string } }
	text, err := c.Request(ctx, http.MethodGet, "/v1/agent/self", nil)
	if err == nil {
		err = json.Unmarshal(text, &self)
	}
	if err != nil {
		return "", fmt.Errorf("ask for Consul's version: %w", err)
	}
	return self.Config.Version, nil
}
