// Package ports finds ports for the servers of tests.
package ports

import (
	"math/rand/v2"
	"net"
	"net/netip"
)

// The ports are from first on, as many as there are below 32768: the kernel gives
// none of them to a client (ip_local_port_range), and one that dials a server that
// is just not there cannot get the server's.
const (
	first = 16384
	count = 32768 - first
)

// attempts is how many ports that are taken Free tries at most.
const attempts = 1000

// Free gives n different ports of 127.0.0.1 that are free for TCP and UDP. It fails
// with the last one's error if too many are taken.
func Free(n int) ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	for taken := 0; len(out) < n; {
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), first+uint16(rand.IntN(count))) //nolint:gosec // a test's
		held, err := hold(at)
		switch {
		case err == nil:
			defer held.Close() // so that it is not found twice
			out = append(out, at)
		case taken == attempts:
			return nil, err
		default:
			taken++
		}
	}
	return out, nil
}

// hold listens on the port for TCP, if it is free for UDP too.
func hold(at netip.AddrPort) (net.Listener, error) {
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	_ = u.Close()
	return net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
}
