package overlay

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
)

// MAC is an Ethernet address: comparable, and text in JSON.
type MAC [6]byte

// ParseMAC parses the colon form of a 48-bit unicast address.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 {
		return MAC{}, fmt.Errorf("%q is no 48-bit MAC address", s)
	}
	m := MAC(hw)
	if m[0]&1 != 0 || m == (MAC{}) {
		return MAC{}, fmt.Errorf("%q is no unicast MAC address", s)
	}
	return m, nil
}

// MACOf gives the MAC of the endpoint that has addr in the network. An IPv4
// address is embedded whole, so that no two addresses of a network can share a
// MAC; an IPv6 one is hashed to 40 bits. Both are locally administered unicast
// addresses (IEEE 802-2014 section 8.4).
func MACOf(network string, addr netip.Addr) MAC {
	sum := sha256.Sum256(append([]byte(network+"|"), addr.AsSlice()...))
	if addr.Is4() {
		a := addr.As4()
		net := sha256.Sum256([]byte(network))
		return MAC{0x02, net[0], a[0], a[1], a[2], a[3]}
	}
	return MAC{0x06, sum[0], sum[1], sum[2], sum[3], sum[4]}
}

// String is the colon form.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// MarshalText implements encoding.TextMarshaler with the colon form.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *MAC) UnmarshalText(b []byte) error {
	v, err := ParseMAC(string(b))
	if err != nil {
		return err
	}
	*m = v
	return nil
}
