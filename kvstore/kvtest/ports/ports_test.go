package ports

import (
	"net"
	"net/netip"
	"testing"
)

func TestPortsAreFreeAndDifferent(t *testing.T) {
	free, err := Free(200)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[netip.AddrPort]bool{}
	for _, at := range free {
		if seen[at] || at.Port() < first || at.Port() >= first+count {
			t.Errorf("%v is found twice, or is one that the kernel may give to a client", at)
		}
		seen[at] = true
		l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
}
