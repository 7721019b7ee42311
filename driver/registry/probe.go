package registry

// A host's number of requests to probe paths is odd while it wants an answer, and even
// after.

// Probe asks all hosts to probe the paths between them, until Probed or for 20 s
// at most, and gives the number of this request.
func (r *Registry) Probe() uint64 {
	r.mu.Lock()
	r.self.Probe = (max(r.self.Probe, r.documents.Runs()<<32) + 1) | 1
	asked := r.self.Probe
	r.peers.Ask(asked)
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
		r.peers.Answered()
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
	return len(r.peers.Probes()) > 0
}
