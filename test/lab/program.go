package lab

import (
	"context"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// Program is anything a lab runs and a test or a user may end and start again.
type Program interface {
	// Start starts it, unless it runs, and waits until it is ready.
	Start(ctx context.Context) error
	// Kill and Stop end it with SIGKILL and SIGTERM and return when it is gone.
	Kill(ctx context.Context) error
	Stop(ctx context.Context) error
	// Signal sends any signal and does not wait.
	Signal(sig unix.Signal) error
	// PID is 0 when it does not run.
	PID() int
	// Log is the path of the log all its runs share.
	Log() string
}

var (
	_ Program = (*service)(nil)
	_ Program = (*Consul)(nil)
)

// Program returns a program by its names: a host's and a service's, or a
// Consul server's alone.
func (l *Lab) Program(names ...string) (Program, error) {
	for _, c := range l.consuls {
		if len(names) == 1 && names[0] == c.name {
			return c, nil
		}
	}
	if len(names) == 0 || len(names) > 2 {
		return nil, refuse("say which program: a host and weft or dockerd, or a Consul server")
	}
	h, err := l.FindHost(names[0])
	if err != nil {
		return nil, err
	}
	if len(names) == 1 {
		return nil, refuse("say which program of %s: weft or dockerd", h.name)
	}
	return h.service(Service(names[1]))
}

// FindHost returns the host of that name, or an InputError which lists those
// there are.
func (l *Lab) FindHost(name string) (*Host, error) {
	if h := l.Host(name); h != nil {
		return h, nil
	}
	var names []string
	for _, h := range l.hosts {
		names = append(names, h.name)
	}
	return nil, refuse("the lab %s has no host %q; it has %s", l.Name(), name, strings.Join(names, ", "))
}

// Command returns a command which will run inside the member of that name, a
// host or a Consul server.
func (l *Lab) Command(ctx context.Context, name string, argv ...string) (*exec.Cmd, error) {
	m, err := l.member(name)
	if err != nil {
		return nil, err
	}
	return m.Command(ctx, argv...), m.check()
}
