package peers

import "maps"

// probeTicks is how long a host's request to probe paths holds at most, from
// when it is seen: 20 s in ticks of SilenceTick. The asker has its answer within
// 12 s, and a host that is slow to see it still takes part.
const probeTicks = 80

// probeRequest is a request to probe paths that has not ended.
type probeRequest struct {
	number uint64
	ticks  int // that it still holds
}

// A host's number of requests is odd while it wants an answer, and even after.

// Ask is a request of this host's to probe paths.
func (p *Peers) Ask(number uint64) { p.probes[p.self] = probeRequest{number, probeTicks} }

// Answered says that this host's request has its answer.
func (p *Peers) Answered() { delete(p.probes, p.self) }

// Probes gives the requests that have not ended by host; nil if there is none.
func (p *Peers) Probes() map[string]uint64 {
	if len(p.probes) == 0 {
		return nil
	}
	out := make(map[string]uint64, len(p.probes))
	for host, request := range p.probes {
		out[host] = request.number
	}
	return out
}

// asked takes the number of a host's requests to probe. What is there when a host is
// first seen in an incarnation, or by this process, is old. changed says whether there
// are other requests now, and asks, whether the host asks with this one.
func (p *Peers) asked(host *Peer, probe uint64, old bool) (changed, asks bool) {
	if probe <= host.Probe {
		return false, false
	}
	host.Probe = probe
	if probe%2 == 0 {
		_, had := p.probes[host.Name]
		delete(p.probes, host.Name)
		return had, false
	}
	if old {
		return false, false
	}
	p.probes[host.Name] = probeRequest{probe, probeTicks}
	return true, true
}

// countProbes counts a tick, and says whether a request has ended with it.
func (p *Peers) countProbes() bool {
	before := len(p.probes)
	for host, request := range p.probes {
		request.ticks--
		p.probes[host] = request
	}
	maps.DeleteFunc(p.probes, func(_ string, request probeRequest) bool { return request.ticks <= 0 })
	return len(p.probes) < before
}
