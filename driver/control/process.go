package control

import (
	"context"
	"errors"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// How long a process may take to end, and how often it is looked for.
const (
	goneTime = 15 * time.Second
	goneLook = 20 * time.Millisecond
)

// process is the daemon's id as seen here; 0 if it cannot be seen from here.
func (c Client) process(ctx context.Context) int {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.Socket)
	if err != nil {
		return 0 // who asks it for something says so
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	_ = raw.Control(func(fd uintptr) {
		if peer, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(peer.Pid)
		}
	})
	return pid
}

// gone waits until the process is gone and its parent has reaped it: until then
// systemd considers the unit running.
func gone(ctx context.Context, pid int) error {
	if pid == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, goneTime, errSlow)
	defer cancel()
	ticker := time.NewTicker(goneLook)
	defer ticker.Stop()
	for !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
		select {
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), errSlow) {
				return nil
			}
			return ctx.Err()
		case <-ticker.C:
		}
	}
	return nil
}

// errSlow says that a process takes longer to end than anybody waits.
var errSlow = errors.New("it takes long")
