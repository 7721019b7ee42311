package registry

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/overlay"
)

// HostState is another host with what is known of its liveness.
type HostState struct {
	overlay.Host
	Live  bool
	Since time.Time // when Live last changed, as far as this process has seen

	// What the host says itself, by push.
	Heard      time.Time // its last sign of life; zero: none since this process began, or it rests
	Silent     bool      // it was heard, and has not been for 4 s
	StoreOK    bool      // it said that the store answers it
	StoreSince time.Time // since when it is so
}

// HostStates are the other hosts, sorted by name.
func (r *Registry) HostStates() []HostState {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make([]HostState, 0, r.peers.Count())
	for name, p := range r.peers.All() {
		s := HostState{Host: p.Host, Live: p.Live, Since: p.Since, Silent: r.peers.Silent(name)}
		s.Heard, s.StoreOK, s.StoreSince = r.peers.Said(name)
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b HostState) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// VTEPs are the underlay addresses of the other hosts that are sent to, sorted.
func (r *Registry) VTEPs() []netip.Addr {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []netip.Addr
	now := time.Now()
	for name, p := range r.peers.All() {
		if r.peers.SentTo(name, now) && p.VTEP.IsValid() {
			out = append(out, p.VTEP)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// Own are this host's attachments as peers are told of them, sorted by network.
func (r *Registry) Own() []overlay.Attachment {
	pooled := r.documents.pooled()
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := []overlay.Attachment{}
	for n := range r.networks.Here() {
		out = append(out, r.documents.attachmentLocked(n.ID, pooled[n.ID]))
	}
	slices.SortFunc(out, func(a, b overlay.Attachment) int { return cmp.Compare(a.Network, b.Network) })
	return out
}

// Contact is how the store was doing when last asked.
func (r *Registry) Contact() Contact { return r.contact.Contact() }

// Behind is for how long a write of this host's has been in the store without
// its own watch showing it; 0 if there is none.
func (r *Registry) Behind() time.Duration {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.published.lag.waiting == 0 {
		return 0
	}
	return time.Since(r.published.lag.since)
}
