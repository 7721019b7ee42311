package dataplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// dockerResolver is where containers find Docker's resolver, and bypass the
// mark by which our own queries to it are told from the container's.
var dockerResolver = [4]byte{127, 0, 0, 11}

const (
	dnsPort = 53
	bypass  = 0x77
)

// Resolver is what weft's name server has inside one sandbox: sockets to be
// asked on, a way to ask Docker's resolver, and the interception of the
// container's queries. While it is open the sandbox's namespace cannot go.
type Resolver struct {
	path string
	ns   netns.NsHandle
	id   [2]uint64 // device and inode of the namespace
	udp  *net.UDPConn
	tcp  *net.TCPListener
	tap  *tap // nil: nothing is intercepted as far as is known
	full bool // the tap has its rules

	standIn *standIn // nil: there is none, or it is to be made anew
}

// OpenResolver opens the sockets inside the sandbox, on ports that the kernel
// chooses. The error is an os.ErrNotExist while the path is no namespace (yet).
func (d *Dataplane) OpenResolver(ctx context.Context, sandbox string) (_ *Resolver, err error) {
	if !isNamespace(sandbox) {
		return nil, fmt.Errorf("sandbox %s: %w", sandbox, os.ErrNotExist)
	}
	r := &Resolver{path: sandbox, ns: netns.None()}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open resolver in sandbox %s: %w", sandbox, err), r.Close())
		}
	}()
	if r.ns, err = netns.GetFromPath(sandbox); err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(int(r.ns), &st); err != nil {
		return nil, err
	}
	r.id = identity(&st)
	// The kernel closes what a dead process had open in the order in which it was
	// opened: what intercepts comes before the sockets that answer.
	if r.tap, err = openTap(r.ns); err != nil {
		return nil, err
	}
	return r, visit(r.ns, func() error {
		var lc net.ListenConfig
		lc.SetMultipathTCP(false)
		local := net.JoinHostPort(net.IP(dockerResolver[:]).String(), "0")
		udp, err := lc.ListenPacket(ctx, "udp4", local)
		if err != nil {
			return err
		}
		r.udp = udp.(*net.UDPConn)
		tcp, err := lc.Listen(ctx, "tcp4", local)
		if err != nil {
			return err
		}
		r.tcp = tcp.(*net.TCPListener)
		return nil
	})
}

func identity(st *unix.Stat_t) [2]uint64 { return [2]uint64{st.Dev, st.Ino} }

// UDP is the socket that gets the container's queries once Intercept has run.
func (r *Resolver) UDP() *net.UDPConn { return r.udp }

// TCP is UDP's counterpart.
func (r *Resolver) TCP() net.Listener { return r.tcp }

// Dial connects to Docker's resolver from inside the sandbox, past the
// interception. The network is udp4 or tcp4.
func (r *Resolver) Dial(ctx context.Context, network string) (conn net.Conn, err error) {
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, bypass)
		})
		return errors.Join(err, failed)
	}}
	addr := (&net.TCPAddr{IP: dockerResolver[:], Port: dnsPort}).String()
	err = visit(r.ns, func() error {
		conn, err = dialer.DialContext(ctx, network, addr)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reach Docker's resolver in sandbox %s: %w", r.path, err)
	}
	return conn, nil
}

// Current says whether the sandbox's path still is the namespace that was opened.
func (r *Resolver) Current() bool {
	var st unix.Stat_t
	return isNamespace(r.path) && unix.Stat(r.path, &st) == nil && identity(&st) == r.id
}

// Intercept redirects the container's queries to the sockets for the time of
// ttl from now on. It is called again to go on.
func (r *Resolver) Intercept(ttl time.Duration) error {
	if r.tap != nil && r.full {
		if r.tap.renew(ttl) == nil {
			return nil
		}
		// Somebody else has taken the table away, or it is from before.
		r.tap.close()
		r.tap, r.full = nil, false
	}
	err := r.install(ttl)
	if err != nil {
		return fmt.Errorf("intercept names in sandbox %s: %w", r.path, err)
	}
	return nil
}

func (r *Resolver) install(ttl time.Duration) (err error) {
	if r.tap == nil {
		if r.tap, err = openTap(r.ns); err != nil {
			return err
		}
	}
	err = r.tap.fill(r.udp.LocalAddr().(*net.UDPAddr).AddrPort(), r.tcp.Addr().(*net.TCPAddr).AddrPort(), ttl)
	if err != nil {
		r.tap.close()
		r.tap = nil
		return err
	}
	r.full = true
	return nil
}

// Release ends the interception. What was asked already can still be answered
// until Close.
func (r *Resolver) Release() error {
	if r.tap == nil || !r.full {
		return nil
	}
	if err := r.tap.release(); err != nil {
		return fmt.Errorf("end interception of names in sandbox %s: %w", r.path, err)
	}
	return nil
}

// Close gives everything back, the interception too.
func (r *Resolver) Close() error {
	var err error
	if r.tap != nil {
		if err = r.tap.remove(); err != nil {
			err = fmt.Errorf("end interception of names in sandbox %s: %w", r.path, err)
		}
		r.tap = nil
	}
	if r.ns.IsOpen() {
		err = errors.Join(err, removeStandIn(r.ns)) // that of a process before, too
		r.standIn = nil
	}
	if r.udp != nil {
		err = errors.Join(err, r.udp.Close())
	}
	if r.tcp != nil {
		err = errors.Join(err, r.tcp.Close())
	}
	if r.ns.IsOpen() {
		err = errors.Join(err, r.ns.Close())
	}
	return err
}
