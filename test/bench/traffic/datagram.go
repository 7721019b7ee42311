package traffic

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// payload of a datagram, bytes.
	payload = 64
	// batch is how many datagrams one call receives at most, so that the
	// receiver is not what is measured.
	batch = 64
	// buffer of the receiver, bytes: some hundredths of a second.
	buffer = 4 << 20
)

// mmsghdr is one datagram of recvmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	n      uint32
	_      uint32
}

// datagrams measures packets received.
func datagrams(job Job, at ends) (Result, error) {
	var server, client int
	var to unix.Sockaddr
	err := <-thread(job.To, anyCPU, func() (err error) {
		if server, to, err = bound(job.Address, unix.SOCK_DGRAM); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(server, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer); err != nil {
			return fmt.Errorf("size the receiver's buffer: %w", err)
		}
		return nil
	})
	if err != nil {
		return Result{}, err
	}
	err = <-thread(job.From, anyCPU, func() (err error) {
		if client, err = open(job.Address, unix.SOCK_DGRAM); err != nil {
			return err
		}
		if err := unix.Connect(client, to); err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		return nil
	})
	if err != nil {
		return Result{}, err
	}
	var sent, received counter
	var stop, ended atomic.Bool
	receiver := thread("", at.server, func() error { return collect(server, &received.n, &ended) })
	sender := thread("", at.client, func() error { return scatter(client, &sent.n, &stop) })
	var posted int64
	window := watch(job.Duration, func() float64 {
		posted = sent.n.Load() - posted
		return float64(received.n.Load())
	})
	stop.Store(true)
	if err := <-sender; err != nil {
		return Result{}, err
	}
	// The last one is answered at the latest when the receiver's patience ends.
	ended.Store(true)
	_ = send(client, make([]byte, payload))
	if err := <-receiver; err != nil {
		return Result{}, err
	}
	if window.units == 0 {
		return Result{}, fmt.Errorf("of %d datagrams none arrived", posted)
	}
	r := window.result()
	r.Lost = max(0, 1-window.units/float64(posted))
	return r, nil
}

func scatter(fd int, count *atomic.Int64, stop *atomic.Bool) error {
	b := make([]byte, payload)
	for !stop.Load() {
		if errno := send(fd, b); errno != 0 {
			return fmt.Errorf("send: %w", errno)
		}
		count.Add(1)
	}
	return nil
}

func collect(fd int, count *atomic.Int64, ended *atomic.Bool) error {
	messages := make([]mmsghdr, batch)
	for i := range messages {
		b := make([]byte, payload)
		messages[i].header.Iov = &unix.Iovec{Base: unsafe.SliceData(b)}
		messages[i].header.Iov.SetLen(payload)
		messages[i].header.Iovlen = 1
	}
	for !ended.Load() {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(messages))), batch, unix.MSG_WAITFORONE, 0, 0)
		switch errno {
		case 0:
			count.Add(int64(n))
		case unix.EINTR, unix.EAGAIN:
		default:
			return fmt.Errorf("receive: %w", errno)
		}
	}
	return nil
}
