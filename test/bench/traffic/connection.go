package traffic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// connections measures connections, one after another. The server closes first,
// so that the client's port is free again at once.
func connections(job Job, at ends) (Result, error) {
	var listener int
	var to unix.Sockaddr
	err := <-thread(job.To, anyCPU, func() (err error) {
		listener, to, err = bound(job.Address, unix.SOCK_STREAM)
		return err
	})
	if err != nil {
		return Result{}, err
	}
	address, err := sockaddr(to)
	if err != nil {
		return Result{}, err
	}
	var made counter
	var stop atomic.Bool
	server := thread("", at.server, func() error { return host(listener) })
	client := thread(job.From, at.client, func() error {
		defer func() { _ = unix.Shutdown(listener, unix.SHUT_RDWR) }() // which ends the server
		for !stop.Load() {
			if err := visit(job, address); err != nil {
				return err
			}
			made.n.Add(1)
		}
		return nil
	})
	w := watch(job.Duration, func() float64 { return float64(made.n.Load()) })
	stop.Store(true)
	if err := errors.Join(<-client, <-server); err != nil {
		return Result{}, err
	}
	return w.result(), nil
}

// visit connects, says a byte, hears one, and waits for the end.
func visit(job Job, address []byte) error {
	fd, err := open(job.Address, unix.SOCK_STREAM)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(address))), uintptr(len(address))); errno != 0 {
		return fmt.Errorf("connect: %w", errno)
	}
	b := make([]byte, 1)
	if errno := send(fd, b); errno != 0 {
		return fmt.Errorf("ask over a new connection: %w", errno)
	}
	for {
		switch n, errno := receive(fd, b); {
		case errno != 0:
			return fmt.Errorf("wait for an answer over a new connection: %w", errno)
		case n == 0:
			return nil
		}
	}
}

// host answers visits until the listener is shut down.
func host(listener int) error {
	b := make([]byte, 1)
	for {
		fd, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(listener), 0, 0, unix.SOCK_CLOEXEC, 0, 0)
		switch errno {
		case 0:
		case unix.EINTR:
			continue
		case unix.EINVAL: // it is shut down
			return nil
		default:
			return fmt.Errorf("accept: %w", errno)
		}
		_, errno = receive(int(fd), b)
		if errno == 0 {
			errno = send(int(fd), b)
		}
		unix.Close(int(fd))
		if errno != 0 {
			return fmt.Errorf("answer over a new connection: %w", errno)
		}
	}
}

// sockaddr is the address as connect(2) takes it.
func sockaddr(to unix.Sockaddr) ([]byte, error) {
	var b []byte
	switch to := to.(type) {
	case *unix.SockaddrInet4:
		b = binary.NativeEndian.AppendUint16(b, unix.AF_INET)
		b = binary.BigEndian.AppendUint16(b, uint16(to.Port))
		b = append(b, to.Addr[:]...)
		return append(b, make([]byte, unix.SizeofSockaddrInet4-len(b))...), nil
	case *unix.SockaddrInet6:
		b = binary.NativeEndian.AppendUint16(b, unix.AF_INET6)
		b = binary.BigEndian.AppendUint16(b, uint16(to.Port))
		b = append(b, 0, 0, 0, 0) // flow
		b = append(b, to.Addr[:]...)
		return binary.NativeEndian.AppendUint32(b, to.ZoneId), nil
	}
	return nil, fmt.Errorf("connect to %v: neither IPv4 nor IPv6", to)
}
