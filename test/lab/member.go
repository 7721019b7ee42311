package lab

import (
	"bufio"
	"context"
	_ "embed" // the holder's script
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Underlay is the network all members share.
var Underlay = netip.MustParsePrefix("198.51.100.0/24")

// member is one box of the lab: three namespaces and the process which keeps
// them.
type member struct {
	lab    *Lab
	name   string
	number int    // last octet of the address
	engine engine // of a host; nothing in any other member
}

// Name returns the member's name, which is its hostname too.
func (m *member) Name() string { return m.name }

// Addr returns the member's IPv4 address on the underlay.
func (m *member) Addr() netip.Addr {
	a := Underlay.Addr().As4()
	a[3] = byte(m.number)
	return netip.AddrFrom4(a)
}

// Addr6 returns the member's IPv6 address on the underlay. It ends in the same
// digits as the IPv4 address.
func (m *member) Addr6() netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("2001:db8:51::%d", m.number))
}

// mac is the address of the member's eth0; fixed, so that Cut can name it.
func (m *member) mac() string {
	a := m.Addr().As4()
	return fmt.Sprintf("02:00:%02x:%02x:%02x:%02x", a[0], a[1], a[2], a[3])
}

// Dir returns the member's part of the lab's state directory.
func (m *member) Dir() string { return filepath.Join(m.lab.dir, m.name) }

func (m *member) environ() []string { return append(m.lab.environ(m.engine), memberMark+"="+m.name) }

// holder returns the process which keeps the member's namespaces, and no process
// once it is gone: its pid may be somebody else's by now, whose namespaces
// nobody must enter.
func (m *member) holder() process {
	p := loadProcess(filepath.Join(m.Dir(), "holder.pid"))
	if !p.alive() {
		return process{}
	}
	return p
}

// check refuses work on a member which is gone, as all are when the machine
// was started anew.
func (m *member) check() error {
	if m.holder().pid == 0 {
		return refuse("%s does not exist any more; remove the lab %s with weft-lab down and make it again", m.name, m.lab.Name())
	}
	return nil
}

// Path returns where this process finds the member's file or socket called
// path, such as /run/docker.sock.
func (m *member) Path(path string) string {
	return fmt.Sprintf("/proc/%d/root%s", m.holder().pid, path)
}

// Netns returns the path of the member's network namespace.
func (m *member) Netns() string { return fmt.Sprintf("/proc/%d/ns/net", m.holder().pid) }

// Command returns a command which will run inside the member: its network,
// mounts and hostname, an environment of its own.
func (m *member) Command(ctx context.Context, argv ...string) *exec.Cmd {
	args := append(m.enter(), argv...)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(m.environ(), "TERM="+os.Getenv("TERM"))
	return cmd
}

func (m *member) enter() []string {
	// --mount moves the working directory to the member's root as well.
	return []string{"nsenter", "--target", strconv.Itoa(m.holder().pid), "--net", "--mount", "--uts", "--"}
}

// run runs a command inside the member and returns what it printed; the error
// has what it complained about.
func (m *member) run(ctx context.Context, stdin io.Reader, argv ...string) (string, error) {
	cmd := m.Command(ctx, argv...)
	cmd.Stdin = stdin
	return output(cmd, m.name, argv)
}

//go:embed holder.sh
var holderScript string

// hold makes the member's namespaces and waits until they are furnished.
func (m *member) hold(ctx context.Context) error {
	if err := os.MkdirAll(m.Dir(), 0o700); err != nil {
		return fmt.Errorf("make %s: %w", m.name, err)
	}
	complaints, err := os.Create(filepath.Join(m.Dir(), "holder.log"))
	if err != nil {
		return fmt.Errorf("make %s: %w", m.name, err)
	}
	defer complaints.Close()
	said, say, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make %s: %w", m.name, err)
	}
	defer said.Close()

	cmd := exec.Command("sh", "-c", holderScript, "weft-lab-holder", m.name, m.Dir(), m.engine.Root)
	cmd.Env = m.environ()
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = say, complaints
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS,
	}
	err = m.lab.launch(cmd, filepath.Join(m.Dir(), "holder.pid"))
	say.Close()
	if err != nil {
		return fmt.Errorf("make the namespaces of %s: %w", m.name, err)
	}
	deadline, ok := ctx.Deadline()
	if limit := time.Now().Add(10 * time.Second); !ok || limit.Before(deadline) {
		deadline = limit
	}
	if err := said.SetReadDeadline(deadline); err != nil {
		return fmt.Errorf("make the namespaces of %s: %w", m.name, err)
	}
	// Anything but a whole line is an error.
	if _, err := bufio.NewReader(said).ReadString('\n'); err != nil {
		return fmt.Errorf("make the namespaces of %s: %w; it says:\n%s", m.name, err, tail(complaints.Name()))
	}
	return nil
}
