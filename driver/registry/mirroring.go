package registry

import "github.com/weft-net/weft/driver/overlay"

// Mirroring says that this host's Docker is about to be asked for the network,
// until done is called.
func (r *Registry) Mirroring(id string) (done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.networks.BeginMirroring(id)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.networks.EndMirroring(id)
	}
}

// Recorded finds the cluster's network that Create would join, if there is one.
// mirrored: this host's Docker asks because weft has it do so, or asks again.
func (r *Registry) Recorded(dockerID string, want overlay.Network) (n overlay.Network, mirrored bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.networks.Recorded(dockerID, want)
}

// goneMeanwhile finds the network that Docker is being asked for and that was removed
// since.
func (r *Registry) goneMeanwhile(want overlay.Network) (overlay.Network, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.networks.GoneMeanwhile(want)
}
