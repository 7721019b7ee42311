package lab

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Service names a program a Docker host runs.
type Service string

// The programs of a host.
const (
	Weft    Service = "weft"
	Dockerd Service = "dockerd"
)

const (
	dockerSocket  = "/run/docker.sock"
	dockerPidFile = "/run/docker.pid"
	pluginDir     = "/run/docker/plugins"
	weftSocket    = pluginDir + "/weft.sock"
)

// Host is one Docker host.
type Host struct {
	member
	services map[Service]*service
}

func newHost(l *Lab, i int) *Host {
	h := &Host{member: member{lab: l, name: fmt.Sprintf("h%d", i+1), number: firstHost + i, engine: l.settings.Engines[i%len(l.settings.Engines)]}}
	h.services = map[Service]*service{
		Dockerd: {
			member: &h.member, name: string(Dockerd), argv: h.dockerdLine(),
			prepare: h.clearPidFiles, ready: h.dockerAnswers,
			// Docker's API stays closed for 15 s for each network and each
			// stale endpoint whose plugin is absent.
			patience: 3 * time.Minute,
		},
	}
	if l.settings.Weft != "" {
		h.services[Weft] = &service{
			member: &h.member, name: string(Weft), argv: h.weftLine(), ready: h.weftListens, patience: 30 * time.Second,
		}
	}
	return h
}

func (h *Host) dockerdLine() []string {
	line := []string{
		h.engine.Dockerd,
		"--host", "unix://" + dockerSocket,
		"--data-root", filepath.Join(h.Dir(), "docker"),
		"--exec-root", "/run/docker",
		"--pidfile", dockerPidFile,
		"--log-level", "info",
		"--iptables=true",
		// On a machine run by systemd the driver would be systemd's, whose
		// manager is outside of the lab.
		"--exec-opt", "native.cgroupdriver=cgroupfs",
		"--cgroup-parent", cgroup(h.lab.Name(), h.lab.dir) + "/" + h.name,
		// Clear of the underlay and of weft's own 10.128.0.0/10.
		"--default-address-pool", "base=172.16.0.0/12,size=24",
	}
	line = append(line, h.engine.flags(hasTimeNamespaces())...)
	return append(line, h.lab.settings.DockerdArgs...)
}

// DockerVersion returns the version of Docker that was asked for, such as 28.5;
// empty if the host has the machine's own.
func (h *Host) DockerVersion() string { return h.engine.Version }

// clearPidFiles removes what a killed dockerd and its containerd left behind.
// Docker takes a zombie for a running daemon, and a killed one is a zombie for
// as long as its new parent pleases.
func (h *Host) clearPidFiles(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, file := range []string{dockerPidFile, "/run/docker/containerd/containerd.pid"} {
		text, err := os.ReadFile(h.Path(file))
		if err != nil {
			continue // there is none
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			continue // Docker judges it
		}
		// Containerd is killed by the kernel when dockerd ends, a moment later.
		if p, err := identify(pid); err == nil {
			err := until(ctx, func() error {
				if p.alive() {
					return fmt.Errorf("process %d of %s still runs", pid, file)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		if err := os.Remove(h.Path(file)); err != nil {
			return fmt.Errorf("remove a stale pid file: %w", err)
		}
	}
	return nil
}

func (h *Host) weftLine() []string {
	var servers []string
	for _, c := range h.lab.consuls {
		servers = append(servers, fmt.Sprintf("%s:%d", c.Addr(), consulPort))
	}
	line := []string{
		h.lab.settings.Weft, "serve",
		"--store", "consul://" + strings.Join(servers, ","),
		"--host", h.name,
		"--advertise", h.Addr().String(),
		"--plugin-dir", pluginDir,
		"--docker", "unix://" + dockerSocket,
		"--state-dir", filepath.Join(h.Dir(), "weft"),
	}
	return append(line, h.lab.settings.WeftArgs...)
}

// WeftArgs has weft started with these arguments after the lab's own from its
// next start on; of a flag that is given twice the last one counts. Other
// processes that have the lab open do not know of them.
func (h *Host) WeftArgs(args ...string) {
	if s := h.services[Weft]; s != nil {
		s.argv = append(h.weftLine(), args...)
	}
}

// furnish lays out what the host has on disk before its namespaces exist.
func (h *Host) furnish() error {
	var hosts strings.Builder
	hosts.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n")
	for _, m := range h.lab.members() {
		fmt.Fprintf(&hosts, "%s\t%s\n", m.Addr(), m.name)
	}
	etc := filepath.Join(h.Dir(), "etc")
	for _, dir := range []string{etc, filepath.Join(h.Dir(), "docker"), filepath.Join(h.Dir(), "weft")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("furnish %s: %w", h.name, err)
		}
	}
	for name, text := range map[string]string{
		"hostname": h.name + "\n",
		// Each host is a machine of its own, the same one each time.
		"machine-id": fmt.Sprintf("%x", sha256.Sum256([]byte(h.lab.Name()+"/"+h.name)))[:32] + "\n",
		"hosts":      hosts.String(),
		// Nobody listens there: every name outside fails at once.
		"resolv.conf": fmt.Sprintf("nameserver %s\n", h.lab.sw.Addr()),
	} {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("furnish %s: %w", h.name, err)
		}
	}
	return nil
}

// Services returns what the host runs, in the order in which it is started.
func (h *Host) Services() []Service {
	if h.services[Weft] == nil {
		return []Service{Dockerd}
	}
	return []Service{Weft, Dockerd}
}

func (h *Host) service(s Service) (*service, error) {
	if found := h.services[s]; found != nil {
		return found, nil
	}
	if s == Weft {
		return nil, refuse("%s has no weft: the lab %s was made without it", h.name, h.lab.Name())
	}
	return nil, refuse("%s has no service %q; it has weft and dockerd", h.name, s)
}

// Start starts a service and waits until it can be used: Docker answers its
// API, weft listens on its socket. It does nothing to a service which runs.
func (h *Host) Start(ctx context.Context, s Service) error {
	found, err := h.service(s)
	if err != nil {
		return err
	}
	return found.Start(ctx)
}

// Kill ends a service with SIGKILL and returns when it is gone.
func (h *Host) Kill(ctx context.Context, s Service) error {
	found, err := h.service(s)
	if err != nil {
		return err
	}
	return found.Kill(ctx)
}

// Stop ends a service with SIGTERM and returns when it is gone.
func (h *Host) Stop(ctx context.Context, s Service) error {
	found, err := h.service(s)
	if err != nil {
		return err
	}
	return found.Stop(ctx)
}

// Signal sends a service any signal, such as SIGSTOP, and does not wait.
func (h *Host) Signal(s Service, sig unix.Signal) error {
	found, err := h.service(s)
	if err != nil {
		return err
	}
	return found.Signal(sig)
}

// Running reports whether the service's process exists.
func (h *Host) Running(s Service) bool { return h.PID(s) != 0 }

// PID returns the process id of a service, 0 if it does not run.
func (h *Host) PID(s Service) int {
	if found := h.services[s]; found != nil {
		return found.PID()
	}
	return 0
}

// Log returns the path of a service's log, which all of its runs share.
func (h *Host) Log(s Service) string { return filepath.Join(h.Dir(), string(s)+".log") }

// Docker runs the docker client on the host and returns its standard output
// without surrounding blanks; the error has its standard error.
func (h *Host) Docker(ctx context.Context, args ...string) (string, error) {
	out, err := h.run(ctx, nil, append([]string{"docker"}, args...)...)
	return strings.TrimSpace(out), err
}

// RemoveContainers removes the containers that the filters of `docker ps` select,
// all if there are none, one after the other: a Docker that removes several at once
// may count one endpoint too many in their network for good, and then refuses to
// remove it for "active endpoints" (https://github.com/moby/moby/issues/43286).
func (h *Host) RemoveContainers(ctx context.Context, filters ...string) error {
	args := []string{"ps", "-aq"}
	for _, f := range filters {
		args = append(args, "--filter", f)
	}
	ids, err := h.Docker(ctx, args...)
	if err != nil {
		return err
	}
	for id := range strings.FieldsSeq(ids) {
		if _, err := h.Docker(ctx, "rm", "-f", id); err != nil {
			return err
		}
	}
	return nil
}

// Run runs a command on the host, as Docker does.
func (h *Host) Run(ctx context.Context, argv ...string) (string, error) {
	out, err := h.run(ctx, nil, argv...)
	return strings.TrimSpace(out), err
}

// ContainerPID returns the process id, on this machine, of a container's first
// process.
func (h *Host) ContainerPID(ctx context.Context, container string) (int, error) {
	out, err := h.Docker(ctx, "inspect", "--format", "{{.State.Pid}}", container)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(out)
	if err != nil || pid == 0 {
		return 0, fmt.Errorf("the container %s on %s does not run", container, h.name)
	}
	return pid, nil
}

// ContainerNetns returns the path of a running container's network namespace,
// valid in every namespace of this machine.
func (h *Host) ContainerNetns(ctx context.Context, container string) (string, error) {
	pid, err := h.ContainerPID(ctx, container)
	return fmt.Sprintf("/proc/%d/ns/net", pid), err
}

// CommandInContainer returns a command which will run in a container's network
// with the machine's files, so that tools the image lacks can be used in it.
func (h *Host) CommandInContainer(ctx context.Context, container string, argv ...string) (*exec.Cmd, error) {
	netns, err := h.ContainerNetns(ctx, container)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + netns, "--"}, argv...)...)
	cmd.Env = h.environ()
	return cmd, nil
}

// Load gives the host's Docker the images of a tarball as docker save makes it.
func (h *Host) Load(ctx context.Context, tarball string) error {
	f, err := os.Open(tarball)
	if err != nil {
		return fmt.Errorf("load an image on %s: %w", h.name, err)
	}
	defer f.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://docker/images/load?quiet=1", f)
	if err != nil {
		return fmt.Errorf("load an image on %s: %w", h.name, err)
	}
	req.Header.Set("Content-Type", "application/x-tar")
	client := h.DockerClient()
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("load %s on %s: %w", tarball, h.name, err)
	}
	defer resp.Body.Close()
	// The answer is a stream of messages, 200 even when one is an error.
	for dec := json.NewDecoder(resp.Body); dec.More(); {
		var message struct {
			Error   string `json:"error"`
			Message string `json:"message"`
		}
		if err := dec.Decode(&message); err != nil {
			return fmt.Errorf("load %s on %s: %w", tarball, h.name, err)
		}
		if text := message.Error + message.Message; text != "" {
			return fmt.Errorf("load %s on %s: %s", tarball, h.name, text)
		}
	}
	return nil
}

// DockerClient speaks HTTP to the host's Docker, from this process, whatever the
// host in the URL. Close its idle connections when done.
func (h *Host) DockerClient() *http.Client {
	path := h.Path(dockerSocket)
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
}

func (h *Host) dockerAnswers(ctx context.Context) error {
	// A ping is answered at once or not at all, before the API is open.
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	client := h.DockerClient()
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/_ping", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("its API answers %s", resp.Status)
	}
	return nil
}

func (h *Host) weftListens(ctx context.Context) error {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", h.Path(weftSocket))
	if err != nil {
		return err
	}
	return conn.Close()
}
