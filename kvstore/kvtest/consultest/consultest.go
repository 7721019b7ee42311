// Package consultest runs real Consul servers for tests: one process with a
// data directory and ports of its own, which can be killed, started again,
// frozen, and robbed of its data.
package consultest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kvstore/kvtest/ports"
)

// startTime is how long a server may take to be able to write. Raft alone needs
// 1 to 2 s for an election; on a machine with five times the work, 30 s were not enough.
const startTime = 90 * time.Second

// Server is one Consul server.
type Server struct {
	// Addr is that of the HTTP API, host:port.
	Addr string

	binary string
	dir    string // has config.json, the data and the log
	mu     sync.Mutex
	cmd    *exec.Cmd     // nil while it does not run
	ended  chan struct{} // closed at the end of cmd
}

// Start runs a Consul server that stops with the test, and returns once it can
// write. config, if any, is more of Consul's configuration by its JSON names.
// The binary is that in WEFT_CONSUL, else in PATH, else .cache/bin/consul in
// this repository; the test fails if there is none.
func Start(t testing.TB, config ...map[string]any) *Server {
	t.Helper()
	s, err := New(t.TempDir(), config...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("last of Consul's log:\n%s", s.Log())
		}
		s.Stop()
	})
	return s
}

// New is Start for TestMain: the caller gives an empty directory, and must call
// Stop.
func New(dir string, config ...map[string]any) (*Server, error) {
	binary, err := Binary()
	if err != nil {
		return nil, err
	}
	// Consul chooses no ports by itself. Two tests may get the same one if a
	// port is closed again before Consul opens it, hence the attempts.
	for attempt := 1; ; attempt++ {
		s := &Server{binary: binary, dir: dir}
		free, err := ports.Free(portsOf)
		if err == nil {
			err = s.configure("consultest", free, config)
		}
		if err == nil {
			err = s.Restart()
		}
		if err == nil {
			return s, nil
		}
		s.Stop()
		if attempt == 3 {
			return nil, fmt.Errorf("start Consul: %w", err)
		}
	}
}

// Binary finds Consul, see Start.
func Binary() (string, error) {
	if path := os.Getenv("WEFT_CONSUL"); path != "" {
		if _, err := exec.LookPath(path); err != nil {
			return "", fmt.Errorf("WEFT_CONSUL: %w", err)
		}
		return path, nil
	}
	if path, err := exec.LookPath("consul"); err == nil {
		return path, nil
	}
	dir, err := os.Getwd()
	for ; err == nil && dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
			continue
		}
		if path, err := exec.LookPath(filepath.Join(dir, ".cache", "bin", "consul")); err == nil {
			return path, nil
		}
		break
	}
	return "", errors.New("these tests need a Consul binary: name it in WEFT_CONSUL, or have consul in PATH or in .cache/bin of the repository")
}

// portsOf is how many ports a server has: of its HTTP API, of Raft and of Serf.
const portsOf = 3

func (s *Server) configure(name string, free []netip.AddrPort, more []map[string]any) error {
	s.Addr = free[0].String()
	config := map[string]any{
		"server":           true,
		"bootstrap_expect": 1,
		"node_name":        name,
		"data_dir":         filepath.Join(s.dir, "data"),
		"bind_addr":        "127.0.0.1",
		"client_addr":      "127.0.0.1",
		"ports": map[string]int{
			"http": int(free[0].Port()), "server": int(free[1].Port()), "serf_lan": int(free[2].Port()), "serf_wan": -1,
			"dns": -1, "grpc": -1, "grpc_tls": -1, "https": -1,
		},
		"performance":             map[string]any{"raft_multiplier": 1},
		"connect":                 map[string]any{"enabled": false},
		"ui_config":               map[string]any{"enabled": false},
		"telemetry":               map[string]any{"disable_hostname": true},
		"disable_update_check":    true,
		"log_level":               "WARN",
		"leave_on_terminate":      false,
		"skip_leave_on_interrupt": true,
	}
	for _, m := range more {
		maps.Copy(config, m)
	}
	b, err := json.MarshalIndent(config, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.dir, "config.json"), b, 0o600)
}

// Kill ends the server with SIGKILL.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.ended
	s.cmd = nil
}

// PID is the process id of the server, 0 while it does not run.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return 0
	}
	return s.cmd.Process.Pid
}

// Stop is Kill, for the end of a test: a server has nothing to save.
func (s *Server) Stop() { s.Kill() }

// Freeze stops the process without ending it (SIGSTOP): its connections stay,
// and it answers nothing once this returns. Thaw or Kill ends that.
func (s *Server) Freeze() {
	s.signal(syscall.SIGSTOP)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	for { // its threads do not all stop at once
		err := unix.Waitid(unix.P_PID, s.cmd.Process.Pid, nil, unix.WSTOPPED, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// Thaw lets a frozen server go on.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(sig)
	}
}

// Restart kills the server if it runs, starts it with what data there is, at
// the same address, and returns once it can write.
func (s *Server) Restart() error {
	s.Kill()
	if err := s.run(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	return s.ready(ctx)
}

// Wipe kills the server and removes its data.
func (s *Server) Wipe() error {
	s.Kill()
	return os.RemoveAll(filepath.Join(s.dir, "data"))
}

// Save gives a snapshot of all the server has.
func (s *Server) Save(ctx context.Context) ([]byte, error) {
	return s.snapshot(ctx, http.MethodGet, nil)
}

// Load makes the server have what a snapshot says, and nothing else.
func (s *Server) Load(ctx context.Context, snapshot []byte) error {
	_, err := s.snapshot(ctx, http.MethodPut, snapshot)
	return err
}

func (s *Server) snapshot(ctx context.Context, method string, body []byte) ([]byte, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+s.Addr+"/v1/snapshot", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("snapshot: Consul answers %s: %s", resp.Status, out)
	}
	return out, err
}

func (s *Server) run() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(s.binary, "agent", "-config-file", filepath.Join(s.dir, "config.json"))
	cmd.Stdout, cmd.Stderr = log, log
	// A test that is killed takes its server along.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// In a goroutine of its own: Pdeathsig means the end of the thread, and
	// that of the caller may be locked to it and end with it.
	started := make(chan error)
	go func() { started <- cmd.Start() }()
	if err := <-started; err != nil {
		return err
	}
	s.cmd, s.ended = cmd, make(chan struct{})
	ended := s.ended
	go func() { _ = cmd.Wait(); close(ended) }() // how, ProcessState says
	return nil
}

// ready waits until there is a leader that answers.
func (s *Server) ready(ctx context.Context) error {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		if s.leads(ctx, client) {
			return nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("Consul ended by itself, %v:\n%s", s.cmd.ProcessState, s.Log())
		case <-ctx.Done():
			return fmt.Errorf("Consul has no leader within %v:\n%s", startTime, s.Log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *Server) leads(ctx context.Context, client *http.Client) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Addr+"/v1/status/leader", nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(r)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	var leader string
	if resp.StatusCode != http.StatusOK || json.NewDecoder(resp.Body).Decode(&leader) != nil || leader == "" {
		return false
	}
	// A key that nobody has: 404, or 403 without a token, once the leader
	// answers; 500 until then.
	r, err = http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Addr+"/v1/kv/consultest", nil)
	if err != nil {
		return false
	}
	resp2, err := client.Do(r)
	if err != nil {
		return false
	}
	defer resp2.Body.Close()
	return resp2.StatusCode == http.StatusNotFound || resp2.StatusCode == http.StatusForbidden
}

// Log gives the last 4 KiB of what the server has written.
func (s *Server) Log() string {
	b, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return err.Error()
	}
	b = b[max(0, len(b)-4<<10):]
	return string(bytes.TrimSpace(b))
}
