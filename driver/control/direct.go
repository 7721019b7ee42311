package control

import (
	"cmp"
	"slices"

	"github.com/weft-net/weft/driver/dataplane/direct"
	"github.com/weft-net/weft/driver/overlay"
)

// Direct tells of packets between hosts that go without a tunnel.
type Direct struct {
	Takes bool         `json:"takes"`         // this host takes some, so others may send it some
	Why   string       `json:"why,omitempty"` // it takes none
	Hosts []DirectHost `json:"hosts"`         // those with containers in networks of this host's containers, by name
}

// DirectHost is another host, and how the packets of each network go there.
type DirectHost struct {
	Host    string   `json:"host"`
	Direct  []string `json:"direct"`  // networks whose packets go without a tunnel, by id
	Probing []string `json:"probing"` // networks for which that is being tried
	Tunnel  []string `json:"tunnel"`  // networks whose packets go through the tunnel
	// Why is the reason for the first of Tunnel, in a few words.
	Why string `json:"why,omitempty"`
	// Unanswered says that the other host takes packets without a tunnel, and that none
	// of the probes for the first of Tunnel has come back.
	Unanswered bool `json:"unanswered"`
}

// DirectOf makes it of what the host's kernel tells: whether the host takes such packets,
// why not, and state, which gives how packets of a network go to a host; "": it is not probed.
func DirectOf(s overlay.Snapshot, takes bool, why string, state func(network string, to overlay.Host) direct.State) Direct {
	out := Direct{Takes: takes, Why: why, Hosts: []DirectHost{}}
	here := map[string]bool{}
	for _, e := range s.Local {
		here[e.Network] = here[e.Network] || e.Phase == overlay.Joined
	}
	hosts := map[string]*DirectHost{}
	for id, list := range s.Peers {
		for _, at := range list {
			peer, known := s.Hosts[at.Host]
			if !here[id] || len(at.Endpoints) == 0 || !known {
				continue
			}
			h := hosts[peer.Name]
			if h == nil {
				h = &DirectHost{Host: peer.Name, Direct: []string{}, Probing: []string{}, Tunnel: []string{}}
				hosts[peer.Name] = h
			}
			switch state(id, peer) {
			case direct.Direct:
				h.Direct = append(h.Direct, id)
			case direct.Probing:
				h.Probing = append(h.Probing, id)
			default: // it is not probed, or in vain
				h.Tunnel = append(h.Tunnel, id)
			}
		}
	}
	for _, h := range hosts {
		for _, list := range [][]string{h.Direct, h.Probing, h.Tunnel} {
			slices.Sort(list)
		}
		if len(h.Tunnel) > 0 {
			id, peer := h.Tunnel[0], s.Hosts[h.Host]
			h.Why, h.Unanswered = whyTunnel(s.Networks[id], peer, out, state(id, peer))
		}
		out.Hosts = append(out.Hosts, *h)
	}
	slices.SortFunc(out.Hosts, func(a, b DirectHost) int { return cmp.Compare(a.Host, b.Host) })
	return out
}

func whyTunnel(n overlay.Network, peer overlay.Host, d Direct, state direct.State) (why string, unanswered bool) {
	switch {
	case n.Tunnelled:
		return "the network has weft.path=tunnel", false
	case n.Unguarded:
		return "the network has weft.port_isolation=false", false
	case !d.Takes:
		return d.Why, false
	case peer.Direct == overlay.MAC{}:
		return "that host takes none, its own weft status says why", false
	case state == direct.Tunnel:
		return "probes without a tunnel are not answered", true
	}
	return "it is on another segment, or its containers or this host's have just come, or there are more than 512 such ways", false
}
