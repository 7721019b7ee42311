package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// # How lost records come back
//
// A host without a record of itself has lost its state, or is new. It does not know what
// it has until Docker has been compared with its records: until then its kernel keeps all
// that is in it, and other hosts go on being told of the endpoints that the store has of
// the host from before. A mark in the state stands for that, with these endpoints, so that
// a process that dies meanwhile does not leave half a host: the next one knows them
// without the store. Before they are known, others are told of no endpoints at all, and go
// by what they were told before.

// rebuild is how far that has come.
type rebuild struct {
	*core

	lost     bool // records may be lost that Docker or the store have
	hosts    bool // the store's host/ records have been read, and the documents that they name
	networks bool // and the net/ records

	remains []overlay.Remains // what the kernel had of networks at the start, as long as lost

	// inherited are the attachments with endpoints that the store had of this
	// host when it was first asked, by network id; nil: not asked yet.
	inherited map[string]overlay.Attachment
}

// rebuildMark is what the state says of a host that has lost its records.
type rebuildMark struct {
	Asked     bool                          `json:"asked,omitempty"` // the store, for what it had of this host
	Inherited map[string]overlay.Attachment `json:"inherited,omitempty"`
}

func (r *rebuild) mark() rebuildMark { return rebuildMark{r.inherited != nil, r.inherited} }

// load reads the mark. An earlier weft's says no more than that it is there.
func (r *rebuild) load(value []byte) error {
	r.lost = true
	if string(value) == "true" {
		return nil
	}
	var m rebuildMark
	if err := json.Unmarshal(value, &m); err != nil {
		return err
	}
	if r.inherited = m.Inherited; m.Asked && m.Inherited == nil {
		r.inherited = map[string]overlay.Attachment{}
	}
	return nil
}

// without is the write by which the next process does not tell of what this host had in
// the network; none if it had nothing there.
func (r *rebuild) without(network string) ([]kvstore.Op, error) {
	if _, in := r.inherited[network]; !in {
		return nil, nil
	}
	left := maps.Clone(r.inherited)
	delete(left, network)
	op, err := record.Put(record.StateRebuild, rebuildMark{true, left})
	return []kvstore.Op{op}, err
}

// unknown says that neither the store nor Docker has told yet what this host has.
func (r *rebuild) unknown() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.lost && r.inherited == nil
}

// remaining gives the VTEPs of the hosts that have addresses in the networks of
// this host's containers, and its own, vtep, if it knows them by its kernel only; sorted.
func (r *rebuild) remaining(vtep netip.Addr) []netip.Addr {
	if len(r.remains) == 0 {
		return nil
	}
	out := []netip.Addr{vtep}
	for _, n := range r.remains {
		out = append(out, n.Peers...)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// Rebuilding says whether this host may have endpoints that it has lost its
// records of; ready, whether the cluster's records are here to match them with.
func (r *Registry) Rebuilding() (lost, ready bool) { return r.rebuild.progress() }

// progress is how far it has come, see Registry.Rebuilding.
func (r *rebuild) progress() (lost, ready bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.lost, r.hosts && r.networks
}

// Rebuilt says that all that this host has is recorded.
func (r *Registry) Rebuilt(ctx context.Context) error {
	defer r.change()()
	if !r.rebuild.lost {
		return nil
	}
	if err := r.commitLocked(ctx, record.Delete(record.StateRebuild)); err != nil {
		return err
	}
	r.rebuild.lost, r.rebuild.inherited, r.rebuild.remains = false, nil, nil
	r.epochs.tendLocked(true)
	r.changedLocally()
	return nil
}

// Adopt records an endpoint that Docker has in a container's sandbox and that
// is unknown here. One that is known is fine.
func (r *Registry) Adopt(ctx context.Context, e overlay.Endpoint) error {
	defer r.change()()
	if _, known := r.endpoints.Get(e.ID); known {
		return nil
	}
	if by := r.clashLocked(e); by != "" {
		return fmt.Errorf("take over endpoint %.12s: its MAC address %s is %w in this network by %s: restart the container", e.ID, e.MAC, ErrTaken, by)
	}
	e.Phase, e.Created = overlay.Joined, time.Now() // as in CreateEndpoint
	if err := r.putEndpointLocked(ctx, e); err != nil {
		return fmt.Errorf("take over endpoint %.12s: %w", e.ID, err)
	}
	return nil
}

// inherit takes in what the store has of this host from before, as far as it can be
// used.
func (p *publisher) inherit(ctx context.Context, stored []kvstore.Pair) error {
	defer p.change()()
	if !p.rebuild.lost || p.rebuild.inherited != nil {
		return nil
	}
	inherited := map[string]overlay.Attachment{}
	for _, pair := range stored {
		network := strings.TrimPrefix(pair.Key, record.AttachmentKey(p.self.Name, ""))
		at, err := record.DecodeAttachment(p.self.Name, network, pair.Value)
		if err == nil && len(at.Endpoints) > 0 {
			inherited[network] = at
		}
	}
	if err := p.putLocked(ctx, record.StateRebuild, rebuildMark{true, inherited}); err != nil {
		return fmt.Errorf("keep what the store has of this host from before: %w", err)
	}
	p.rebuild.inherited = inherited
	p.local.send()
	return nil
}

// attachmentsLocked are this host's attachments as other hosts are to know them.
func (d *documents) attachmentsLocked(of map[string]pooled) []overlay.Attachment {
	var out []overlay.Attachment
	done := map[string]bool{}
	for n := range d.networks.Here() {
		done[n.ID] = true
		out = append(out, d.withInheritedLocked(d.attachmentLocked(n.ID, of[n.ID])))
	}
	for network := range d.rebuild.inherited {
		if !done[network] {
			at := overlay.Attachment{Network: network, Host: d.self.Name, Incarnation: d.self.Incarnation}
			out = append(out, d.withInheritedLocked(at))
		}
	}
	return out
}

// withInheritedLocked adds the endpoints that the store has from before.
func (d *documents) withInheritedLocked(at overlay.Attachment) overlay.Attachment {
	for _, old := range d.rebuild.inherited[at.Network].Endpoints {
		if !slices.ContainsFunc(at.Endpoints, func(e overlay.PeerEndpoint) bool { return e.ID == old.ID || e.MAC == old.MAC }) {
			at.Endpoints = append(at.Endpoints, old)
		}
	}
	slices.SortFunc(at.Endpoints, func(a, b overlay.PeerEndpoint) int { return strings.Compare(a.ID, b.ID) })
	return at
}

// hasRead notes that the prefix has been read from the store.
func (f follower) hasRead(prefix string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if prefix == record.HostPrefix {
		f.contact.leasesUnseen = false
		return
	}
	if f.rebuild.lost && !f.rebuild.networks {
		f.any.send()
	}
	f.rebuild.networks = true
}

// lostSight notes that the prefix cannot be followed at the moment.
func (f follower) lostSight(prefix string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.contact.leasesUnseen = f.contact.leasesUnseen || prefix == record.HostPrefix
}
