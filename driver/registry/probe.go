package registry

import "maps"

// probeTicks is how long a host's request to probe paths holds at most, from
// when it is seen: 20 s in ticks of silenceTick. The asker has its answer within
// 12 s, and a host that is slow to see it still takes part.
const probeTicks = 80

// probeRequest is a request to probe paths that has not ended.
type probeRequest struct {
	number uint64
	ticks  int // that it still holds
}

// A host's number of requests is odd while it wants an answer, and even after.

// Probe asks all hosts to probe the paths between them, until Probed or for 20 s
// at most, and gives the number of this request.
func (r *Registry) Probe() uint64 {
	r.mu.Lock()
	r.self.Probe = (max(r.self.Probe, r.Runs()<<32) + 1) | 1
	asked := r.self.Probe
	r.probes[r.self.Name] = probeRequest{asked, probeTicks}
	r.mu.Unlock()
	r.changedLocally()
	return asked
}

// Probed says that the request is answered.
func (r *Registry) Probed(asked uint64) {
	r.mu.Lock()
	ended := r.self.Probe == asked
	if ended {
		r.self.Probe++
		delete(r.probes, r.self.Name)
	}
	r.mu.Unlock()
	if ended {
		r.changedLocally()
	}
}

// Probing says whether the hosts probe the paths between them.
func (r *Registry) Probing() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.probes) > 0
}

// probesLocked gives the requests that have not ended by host; nil if there is
// none.
func (r *Registry) probesLocked() map[string]uint64 {
	if len(r.probes) == 0 {
		return nil
	}
	out := make(map[string]uint64, len(r.probes))
	for host, p := range r.probes {
		out[host] = p.number
	}
	return out
}

// askedLocked takes the number of a host's requests to probe. What is there when
// a host is first seen in an incarnation, or by this process, is old. It says
// whether there are other requests now.
func (r *Registry) askedLocked(p *peer, probe uint64, old bool) bool {
	if probe <= p.Probe {
		return false
	}
	p.Probe = probe
	if probe%2 == 0 {
		_, had := r.probes[p.Name]
		delete(r.probes, p.Name)
		return had
	}
	if old {
		return false
	}
	r.log.WithField("host", p.Name).Debug("A host asks to probe the paths between hosts.")
	r.probes[p.Name] = probeRequest{probe, probeTicks}
	return true
}

// countProbesLocked counts a tick, and says whether a request has ended with it.
func (r *Registry) countProbesLocked() bool {
	before := len(r.probes)
	for host, p := range r.probes {
		p.ticks--
		r.probes[host] = p
	}
	maps.DeleteFunc(r.probes, func(_ string, p probeRequest) bool { return p.ticks <= 0 })
	return len(r.probes) < before
}
