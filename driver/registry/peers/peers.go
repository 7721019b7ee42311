package peers

import (
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
)

// Peers are the other hosts.
type Peers struct {
	self      string
	listens   bool          // this host hears the others directly
	reapAfter time.Duration // after which a dead host's addresses are freed; 0: never

	hosts      map[string]Peer
	left       map[string]bool                // hosts whose record says that they have left, and those returning
	docs       map[string]map[string]Document // host → network id → attachment
	links      map[string]*link               // by host: what it says itself
	probes     map[string]probeRequest        // by host, this one included
	dirty      map[[2]string]bool             // host and network: pushed and not durable yet
	reading    *Reading                       // what is to be read of them
	blindSince time.Time                      // when this host last could not see the leases
}

// Peer is another host with what is known of its liveness.
type Peer struct {
	record.HostDoc
	Live    bool        // it has its lease
	Since   time.Time   // when Live last changed, as far as this process has seen
	Lease   uint64      // revision of the lease's key
	Down    bool        // peers neither send to it nor take from it
	Resting bool        // it would be down if it had not said that its containers run on
	Veto    record.Veto // whether somebody hears it though its lease is free

	marked  bool      // it has the mark of a dead host
	vacant  int       // silence's ticks for which only its weft counts as dead, see vacant.go
	answers int       // silence's ticks for which its machine counts as one that lives; never less
	unheard time.Time // when Veto last changed, or this host last heard it so

	// It had left, or was declared dead, and has had no lease since: it has not
	// compared yet what it had with what others have now.
	returning bool
}

// New is what the host knows of others before it has read anything. reapAfter is the
// time after which a dead host's addresses are freed; 0: never.
func New(self overlay.Host, reapAfter time.Duration) *Peers {
	p := &Peers{
		self: self.Name, listens: self.Push.IsValid(), reapAfter: reapAfter,
		hosts: map[string]Peer{}, left: map[string]bool{}, docs: map[string]map[string]Document{},
		links: map[string]*link{}, probes: map[string]probeRequest{}, dirty: map[[2]string]bool{},
	}
	p.reading = &Reading{peers: p, unread: map[string]uint64{}}
	return p
}

// Listen says whether this host hears the others directly.
func (p *Peers) Listen(listens bool) { p.listens = listens }

// Load takes a host from this host's state.
func (p *Peers) Load(name string, doc record.HostDoc) { p.hosts[name] = Peer{HostDoc: doc} }

// LoadDocument takes a document from this host's state.
func (p *Peers) LoadDocument(doc Document) { p.setDocument(doc) }

// Count is how many other hosts are known.
func (p *Peers) Count() int { return len(p.hosts) }

// Names are the other hosts' names, sorted.
func (p *Peers) Names() []string { return slices.Sorted(maps.Keys(p.hosts)) }

// Peer finds another host.
func (p *Peers) Peer(name string) (Peer, bool) {
	host, known := p.hosts[name]
	return host, known
}

// All are the other hosts by name.
func (p *Peers) All() iter.Seq2[string, Peer] { return maps.All(p.hosts) }

// Docs are what the other hosts say of themselves. A host of whose documents some are to
// be read counts as one of no epoch.
func (p *Peers) Docs() iter.Seq[record.HostDoc] {
	return func(yield func(record.HostDoc) bool) {
		for name, host := range p.hosts {
			if p.reading.unread[name] > 0 {
				host.Epoch, host.Settled = "", false
			}
			if !yield(host.HostDoc) {
				return
			}
		}
	}
}

// Attachments are what the other hosts have in all networks.
func (p *Peers) Attachments() iter.Seq[overlay.Attachment] {
	return func(yield func(overlay.Attachment) bool) {
		for _, nets := range p.docs {
			for _, doc := range nets {
				if !yield(doc.Attachment) {
					return
				}
			}
		}
	}
}

// In are what the other hosts have in the network, by host.
func (p *Peers) In(network string) iter.Seq2[string, overlay.Attachment] {
	return func(yield func(string, overlay.Attachment) bool) {
		for host, nets := range p.docs {
			if doc, has := nets[network]; has && !yield(host, doc.Attachment) {
				return
			}
		}
	}
}

// Attachment is what is known of another host's part in the network.
func (p *Peers) Attachment(host, network string) (overlay.Attachment, bool) {
	doc, ok := p.docs[host][network]
	return doc.Attachment, ok
}

// Digest is the fingerprint of the document that is known of the host's part in the
// network; empty: none is.
func (p *Peers) Digest(host, network string) string { return p.docs[host][network].Digest }

// News is a sentence about a host for the log.
type News struct{ Host, Text string }
