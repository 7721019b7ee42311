package overlay

import (
	"cmp"
	"net/netip"
	"slices"
)

// Plan gives what s.Self's kernel must contain. Only networks with an endpoint on
// this host need kernel objects, and the probe network during a probe.
func Plan(s Snapshot) Config {
	cfg := Config{VTEP: s.Self.VTEP, Port: s.Self.Port, Hosts: vteps(s), Partial: s.Partial}
	local := map[string][]Endpoint{}
	for _, e := range s.Local {
		local[e.Network] = append(local[e.Network], e)
	}
	for id, endpoints := range local {
		ported, _ := Ported(endpoints)
		ported = slices.DeleteFunc(ported, func(e Endpoint) bool { return e.Phase == Created })
		if n, ok := s.Networks[id]; ok && len(ported) > 0 {
			cfg.Networks = append(cfg.Networks, planNetwork(s, n, ported))
		}
	}
	if len(s.Probes) > 0 && !s.Partial {
		cfg.Networks = append(cfg.Networks, planProbe(s))
	}
	slices.SortFunc(cfg.Networks, func(a, b NetworkConfig) int { return cmp.Compare(a.ID, b.ID) })
	return cfg
}

func vteps(s Snapshot) []netip.Addr {
	var out []netip.Addr
	if s.Self.VTEP.IsValid() {
		out = append(out, s.Self.VTEP)
	}
	for _, h := range s.Hosts {
		if h.VTEP.IsValid() {
			out = append(out, h.VTEP)
		}
	}
	return sorted(out)
}

func planNetwork(s Snapshot, n Network, endpoints []Endpoint) NetworkConfig {
	out := NetworkConfig{ID: n.ID, VNI: n.VNI, MTU: MTU(s, n), Guarded: !n.Unguarded}
	for _, e := range endpoints {
		out.Ports = append(out.Ports, Port{
			Endpoint: e.ID, MAC: e.MAC, Addrs: prefixed(n, e.Addrs), Sandbox: e.Sandbox, Keep: e.Phase == Left,
		})
	}
	slices.SortFunc(out.Ports, func(a, b Port) int { return cmp.Compare(a.Endpoint, b.Endpoint) })

	remotes := map[MAC]Remote{}
	for _, at := range s.Peers[n.ID] {
		peer, ok := s.Hosts[at.Host]
		if !ok || !sameFamily(peer.VTEP, s.Self.VTEP) {
			continue
		}
		out.Members = append(out.Members, peer.VTEP)
		if len(at.Endpoints) > 0 {
			out.Flood = append(out.Flood, peer.VTEP)
		}
		for _, a := range at.Stock {
			m := MACOf(n.ID, a)
			remotes[m] = Remote{MAC: m, VTEP: peer.VTEP, Addrs: []netip.Addr{a}}
		}
	}
	// Endpoints after all stock: what is in use wins over what may be used.
	for _, at := range s.Peers[n.ID] {
		peer, ok := s.Hosts[at.Host]
		if !ok || !sameFamily(peer.VTEP, s.Self.VTEP) {
			continue
		}
		for _, e := range at.Endpoints {
			remotes[e.MAC] = Remote{MAC: e.MAC, VTEP: peer.VTEP, Addrs: sorted(e.Addrs)}
		}
	}
	for _, p := range out.Ports {
		delete(remotes, p.MAC)
	}
	out.Direct = directs(s, n)
	if !s.Partial && !n.Unguarded {
		out.Gone = gone(s, n, remotes)
	}
	for _, r := range remotes {
		out.Remotes = append(out.Remotes, r)
	}
	slices.SortFunc(out.Remotes, func(a, b Remote) int { return slices.Compare(a.MAC[:], b.MAC[:]) })
	out.Flood = sorted(out.Flood)
	out.Members = sorted(out.Members)
	return out
}

// gone gives the addresses that this host has claimed in the network and that none of
// its containers has. Addresses that another host is known to have are left out, and
// the network's own. From Leave on a container does not have its addresses any more.
func gone(s Snapshot, n Network, remotes map[MAC]Remote) []netip.Addr {
	had := map[netip.Addr]bool{}
	for _, e := range s.Local {
		if e.Network == n.ID && (e.Phase == Joined || e.Phase == Lost) {
			for _, a := range e.Addrs {
				had[a] = true
			}
		}
	}
	for _, at := range s.Peers[n.ID] {
		for _, a := range at.Stock {
			had[a] = true
		}
		for _, e := range at.Endpoints {
			for _, a := range e.Addrs {
				had[a] = true
			}
		}
	}
	for _, subnet := range n.Subnets {
		had[subnet.Gateway] = true
		for _, a := range subnet.Aux {
			had[a] = true
		}
	}
	var out []netip.Addr
	for _, a := range s.Held[n.ID] {
		if _, taken := remotes[MACOf(n.ID, a)]; !taken && !had[a] {
			out = append(out, a)
		}
	}
	return sorted(out)
}

// prefixed gives each address the length of the subnet it lies in.
func prefixed(n Network, addrs []netip.Addr) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(addrs))
	for _, a := range addrs {
		bits := a.BitLen()
		for _, s := range n.Subnets {
			if s.Prefix.Contains(a) {
				bits = s.Prefix.Bits()
			}
		}
		out = append(out, netip.PrefixFrom(a, bits))
	}
	return out
}

func sameFamily(a, b netip.Addr) bool { return a.IsValid() && b.IsValid() && a.Is4() == b.Is4() }

func sorted(addrs []netip.Addr) []netip.Addr {
	out := slices.Clone(addrs)
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}
