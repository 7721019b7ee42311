package traffic

import (
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// patience is how long a socket waits before a way counts as broken.
const patience = 3 * time.Second

// congestion is what TCP uses: a machine's default may be another, and pacing
// would hide what a way can carry.
const congestion = "cubic"

// open makes a socket in the thread's namespace.
func open(address netip.Addr, kind int) (int, error) {
	family := unix.AF_INET
	if address.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("make a socket: %w", err)
	}
	limit := unix.NsecToTimeval(int64(patience))
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
	if err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)
	}
	if err == nil && kind == unix.SOCK_STREAM {
		err = unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, congestion)
	}
	if err == nil && kind == unix.SOCK_STREAM {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("prepare a socket: %w", err)
	}
	return fd, nil
}

// bound makes a socket that is bound to a free port of the address and, if it
// is TCP, listens. It returns what to connect to.
func bound(address netip.Addr, kind int) (int, unix.Sockaddr, error) {
	fd, err := open(address, kind)
	if err != nil {
		return 0, nil, err
	}
	var to unix.Sockaddr
	if address.Is6() {
		to = &unix.SockaddrInet6{Addr: address.As16()}
	} else {
		to = &unix.SockaddrInet4{Addr: address.As4()}
	}
	err = unix.Bind(fd, to)
	if err == nil && kind == unix.SOCK_STREAM {
		err = unix.Listen(fd, 64)
	}
	if err == nil {
		to, err = unix.Getsockname(fd)
	}
	if err != nil {
		unix.Close(fd)
		return 0, nil, fmt.Errorf("wait at %s: %w", address, err)
	}
	return fd, to, nil
}

// pair is a connection of TCP from From to To.
type pair struct{ client, server int }

// connect makes n connections for the job. A socket stays in the namespace it
// was made in, whoever uses it.
func connect(job Job, n int) ([]pair, error) {
	var listener int
	var at unix.Sockaddr
	err := <-thread(job.To, anyCPU, func() (err error) {
		listener, at, err = bound(job.Address, unix.SOCK_STREAM)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer unix.Close(listener)
	pairs := make([]pair, n)
	err = <-thread(job.From, anyCPU, func() (err error) {
		for i := range pairs {
			if pairs[i].client, err = open(job.Address, unix.SOCK_STREAM); err != nil {
				return err
			}
			if err = unix.Connect(pairs[i].client, at); err != nil {
				return fmt.Errorf("connect: %w", err)
			}
			// Options are inherited from the listener.
			if pairs[i].server, _, err = unix.Accept4(listener, unix.SOCK_CLOEXEC); err != nil {
				return fmt.Errorf("accept: %w", err)
			}
		}
		return nil
	})
	return pairs, err
}

// The calls below go straight to the kernel; the scheduler of Go does not know
// that they block. They repeat what a signal interrupts.

func send(fd int, b []byte) unix.Errno {
	for {
		_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
		if errno != unix.EINTR {
			return errno
		}
	}
}

func receive(fd int, b []byte) (int, unix.Errno) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, 0, 0)
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}
