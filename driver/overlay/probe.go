package overlay

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"
)

// While hosts probe the paths between them, each has a network of weft's own for
// that, with one address and without containers.
const (
	// ProbeNetwork is its id, which no user's network may have.
	ProbeNetwork = "weft.probe"
	// ProbeVNI is its VNI, the last there is; no user's network gets it.
	ProbeVNI = 1<<24 - 1
	// TrialVNI is the VNI of a device that is made for a moment, to try whether the
	// kernel can. No user's network gets it.
	TrialVNI = ProbeVNI - 1
)

// probeSubnet has the hosts' addresses in the probe network. It is reserved
// (RFC 1112 section 4), so it is nobody's, and IPv4 works with every MTU.
var probeSubnet = netip.MustParsePrefix("240.0.0.0/4")

// ProbeAddr gives the address in the probe network of the host with the VTEP.
func ProbeAddr(vtep netip.Addr) netip.Addr {
	sum := sha256.Sum256(vtep.AsSlice())
	hash := binary.BigEndian.Uint32(sum[:]) % (1<<28 - 2) // not the last, which is broadcast
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 0xf0000001+hash)))
}

// ProbePeer is another host as a probe reaches it.
type ProbePeer struct {
	Host string
	VTEP netip.Addr
	Addr netip.Addr // in the probe network
	// MTU is the largest MTU of the networks that both hosts have, in bytes. If they
	// share none, it is what a network without an MTU of its own would get.
	MTU int
}

// ProbePeers gives the hosts to which the paths can be probed, sorted by name.
// If two hosts have the same of the 2^28 addresses in the probe network, only the
// first by name is there.
func ProbePeers(s Snapshot) []ProbePeer {
	var out []ProbePeer
	for _, h := range s.Hosts {
		if h.VTEP.IsValid() && h.VTEP != s.Self.VTEP && sameFamily(h.VTEP, s.Self.VTEP) {
			out = append(out, ProbePeer{Host: h.Name, VTEP: h.VTEP, Addr: ProbeAddr(h.VTEP), MTU: sharedMTU(s, h)})
		}
	}
	slices.SortFunc(out, func(a, b ProbePeer) int { return cmp.Compare(a.Host, b.Host) })
	taken := map[netip.Addr]bool{ProbeAddr(s.Self.VTEP): true}
	return slices.DeleteFunc(out, func(p ProbePeer) bool {
		again := taken[p.Addr]
		taken[p.Addr] = true
		return again
	})
}

func sharedMTU(s Snapshot, h Host) int {
	largest := 0
	for id, n := range s.Networks {
		if slices.ContainsFunc(s.Peers[id], func(at Attachment) bool { return at.Host == h.Name }) {
			largest = max(largest, MTU(s, n))
		}
	}
	if largest == 0 {
		largest = min(s.Self.MTU, cmp.Or(h.MTU, s.Self.MTU)) - Overhead(s.Self.VTEP)
	}
	return largest
}

// planProbe gives the probe network: unlike others it has no ports, and this
// host's address is the bridge's.
func planProbe(s Snapshot) NetworkConfig {
	own := ProbeAddr(s.Self.VTEP)
	out := NetworkConfig{
		ID: ProbeNetwork, VNI: ProbeVNI, MTU: s.Self.MTU - Overhead(s.Self.VTEP), Guarded: true,
		Address: netip.PrefixFrom(own, probeSubnet.Bits()),
	}
	for _, p := range ProbePeers(s) {
		out.MTU = max(out.MTU, p.MTU)
		out.Remotes = append(out.Remotes, Remote{MAC: MACOf(ProbeNetwork, p.Addr), VTEP: p.VTEP, Addrs: []netip.Addr{p.Addr}})
		out.Members = append(out.Members, p.VTEP)
	}
	slices.SortFunc(out.Remotes, func(a, b Remote) int { return slices.Compare(a.MAC[:], b.MAC[:]) })
	out.Members = sorted(out.Members)
	return out
}
