package peers

import (
	"slices"
	"strings"

	"github.com/weft-net/weft/driver/registry/record"
)

// # Documents that are read from the store
//
// A host's record names its documents. The record counts at once, and each document as
// soon as it was read. Until all of them were looked at, the host counts as one that has
// not recorded again what it has, see package epoch.

// Want is what is to be read of a host, as its record names it.
type Want struct {
	Host     string
	Networks []string // whose documents are not here, sorted
	All      int      // networks that the record names

	update uint64
}

// Reading is what is to be read of the hosts.
type Reading struct {
	peers   *Peers
	updates uint64            // how often the store's records were taken over
	unread  map[string]uint64 // hosts of whose documents some are to be read, with the update that says so
}

// Reading is what is to be read of the hosts.
func (p *Peers) Reading() *Reading { return p.reading }

// Wanted is what is to be read of each host, sorted by host.
func (r *Reading) Wanted() []Want {
	var out []Want
	for name, update := range r.unread {
		doc := r.peers.hosts[name].HostDoc
		out = append(out, Want{Host: name, Networks: r.wantedOf(doc), All: len(doc.Digests), update: update})
	}
	slices.SortFunc(out, func(a, b Want) int { return strings.Compare(a.Host, b.Host) })
	return out
}

// wantedOf are the networks of which the record names a document that is not here.
func (r *Reading) wantedOf(doc record.HostDoc) []string {
	if r.peers.outrun(doc) {
		return nil
	}
	var out []string
	for network, want := range doc.Digests {
		if r.peers.Digest(doc.Name, network) != want {
			out = append(out, network)
		}
	}
	slices.Sort(out)
	return out
}

// Read takes documents that were read from the store since Wanted named them.
func (r *Reading) Read(docs ...Document) (Updated, error) {
	var out Updated
	for _, doc := range docs {
		host := r.peers.hosts[doc.Host]
		if _, named := host.Digests[doc.Network]; !named || r.peers.stale(doc) {
			continue
		}
		r.peers.setDocument(doc)
		out.News = append(out.News, doc.Attachment)
		if err := out.put(record.StateAttach+doc.Host+"/"+doc.Network, doc.Attachment); err != nil {
			return Updated{}, err
		}
		r.peers.followed(host.HostDoc)
	}
	return out, nil
}

// Looked says that all that was wanted was looked at, whether it could be used or not.
func (r *Reading) Looked(w Want) {
	if r.unread[w.Host] == w.update {
		delete(r.unread, w.Host)
	}
}
