package dns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// countOverflow has the kernel tell with each datagram how many it has dropped
// before, because the socket was full (SO_RXQ_OVFL, socket(7)).
func countOverflow(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("count dropped queries: %w", err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
	})
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("count dropped queries: %w", err)
	}
	return nil
}

// overflow reads that number, which is there once there was a drop.
func overflow(control []byte) (uint32, bool) {
	if len(control) == 0 {
		return 0, false
	}
	header, data, _, err := unix.ParseOneSocketControlMessage(control)
	if err != nil || header.Level != unix.SOL_SOCKET || header.Type != unix.SO_RXQ_OVFL || len(data) < 4 {
		return 0, false
	}
	return binary.NativeEndian.Uint32(data), true
}
