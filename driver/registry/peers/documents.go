package peers

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// Document is a host's attachment with its fingerprint.
type Document struct {
	overlay.Attachment
	Digest string
}

// NewDocument gives a document that was pushed its fingerprint, the same as the store's.
// It refuses what cannot be used.
func NewDocument(at overlay.Attachment) (Document, error) {
	if at.Seq == 0 {
		return Document{}, fmt.Errorf("document of host %q for network %q has no number", at.Host, at.Network)
	}
	if err := record.CheckAttachment(at.Host, at.Network, at); err != nil {
		return Document{}, fmt.Errorf("document of host %.60q for network %.60q %w", at.Host, at.Network, err)
	}
	b, err := json.Marshal(at)
	if err != nil {
		return Document{}, fmt.Errorf("encode attachment: %w", err)
	}
	return Document{Attachment: at, Digest: record.Digest(b)}, nil
}

// Knows says whether the store has told of the host in this incarnation.
func (p *Peers) Knows(host, incarnation string) bool { return p.linkTo(host, incarnation) != nil }

// Missing says whether the host has announced more than has come from it, and
// up to which number all has come.
func (p *Peers) Missing(host string) (since uint64, missing bool) {
	l := p.links[host]
	if known, ok := p.hosts[host]; !ok || l == nil || l.incarnation != known.Incarnation {
		return 0, false
	}
	return l.synced, l.announced > l.synced
}

// Receive takes one document that its host has pushed, and says whether it was news.
// The number before it, after, tells whether one is missing between.
func (p *Peers) Receive(doc Document, after uint64) (news bool, err error) {
	host := p.hosts[doc.Host]
	if !credible(host.HostDoc, doc.Seq) {
		return false, fmt.Errorf("the document of host %q has the number %d, far above %d, which its record says", doc.Host, doc.Seq, host.Seq)
	}
	l := p.linkTo(doc.Host, doc.Incarnation)
	if l == nil {
		return false, nil
	}
	l.announced = max(l.announced, doc.Seq)
	news = p.take(l, doc)
	if l.synced >= after {
		l.reach(doc.Seq)
	}
	return news, nil
}

// Answer is what a host has answered to the question for its documents.
type Answer struct {
	Host        string
	Incarnation string
	Seq         uint64     // its highest number
	Networks    []string   // all that it is attached to, sorted
	New         []Document // that were asked for, as far as they can be used
}

// Catch takes an answer. It gives the attachments that were news, and says whether
// anything has changed.
func (p *Peers) Catch(a Answer) (news []overlay.Attachment, changed bool, err error) {
	host := p.hosts[a.Host]
	if !credible(host.HostDoc, a.Seq) {
		return nil, false, fmt.Errorf("the newest document of host %q has the number %d, far above %d, which its record says", a.Host, a.Seq, host.Seq)
	}
	l := p.linkTo(a.Host, a.Incarnation)
	if l == nil {
		return nil, false, nil
	}
	for _, doc := range a.New {
		if p.take(l, doc) {
			news = append(news, doc.Attachment)
		}
	}
	changed = len(news) > 0
	for network, doc := range p.docs[a.Host] {
		_, still := slices.BinarySearch(a.Networks, network)
		if !still && (doc.Incarnation != a.Incarnation || doc.Seq <= a.Seq) {
			delete(p.docs[a.Host], network)
			p.dirty[[2]string{a.Host, network}] = true
			changed = true
		}
	}
	l.announced = max(l.announced, a.Seq)
	l.reach(a.Seq)
	return news, changed, nil
}

// take takes a pushed document if it is news.
func (p *Peers) take(l *link, doc Document) bool {
	old, has := p.docs[doc.Host][doc.Network]
	if doc.Seq <= l.synced || doc.Seq <= l.gone[doc.Network] {
		return false
	}
	if has && p.ahead(old, doc.Incarnation, doc.Seq-1) {
		return false
	}
	p.dirty[[2]string{doc.Host, doc.Network}] = true
	if doc.Gone {
		delete(p.docs[doc.Host], doc.Network)
		l.gone[doc.Network] = doc.Seq
		return has
	}
	delete(l.gone, doc.Network)
	p.setDocument(doc)
	return true
}

func (p *Peers) setDocument(doc Document) {
	if p.docs[doc.Host] == nil {
		p.docs[doc.Host] = map[string]Document{}
	}
	p.docs[doc.Host][doc.Network] = doc
}

// reach says that everything up to seq has come.
func (l *link) reach(seq uint64) {
	l.synced = max(l.synced, seq)
	maps.DeleteFunc(l.gone, func(_ string, gone uint64) bool { return gone <= l.synced })
}

// ahead says whether the document that is here has a higher number than seq in the
// incarnation, and one that its host can have given out.
func (p *Peers) ahead(old Document, incarnation string, seq uint64) bool {
	return old.Incarnation == incarnation && old.Seq > seq && credible(p.hosts[old.Host].HostDoc, old.Seq)
}

// stale says whether a document from the store is older than what came from its host.
func (p *Peers) stale(doc Document) bool {
	old, has := p.docs[doc.Host][doc.Network]
	if has {
		return p.ahead(old, doc.Incarnation, doc.Seq)
	}
	l := p.links[doc.Host] // a document without a number is of a host that pushes none
	return l != nil && l.incarnation == doc.Incarnation && doc.Seq != 0 && doc.Seq <= max(l.synced, l.gone[doc.Network])
}

// outrunIn says whether what is here of the host's part in the network is newer than
// the host's record in the store.
func (p *Peers) outrunIn(doc record.HostDoc, network string) bool {
	if at, has := p.docs[doc.Name][network]; has {
		return at.Incarnation == doc.Incarnation && at.Seq > doc.Seq && credible(doc, at.Seq)
	}
	l := p.links[doc.Name]
	return l != nil && l.incarnation == doc.Incarnation && l.gone[network] > doc.Seq
}

// outrun says whether the host's record in the store has nothing new.
func (p *Peers) outrun(doc record.HostDoc) bool {
	l := p.links[doc.Name]
	return l != nil && l.incarnation == doc.Incarnation && doc.Seq != 0 && doc.Seq <= l.synced
}

// followed notes that the store's record of a host has been taken over, if nothing was
// missing.
func (p *Peers) followed(doc record.HostDoc) {
	l := p.linkTo(doc.Name, doc.Incarnation)
	if l == nil || doc.Seq <= l.synced {
		return
	}
	for network, want := range doc.Digests {
		if p.Digest(doc.Name, network) != want && !p.outrunIn(doc, network) {
			return
		}
	}
	l.announced = max(l.announced, doc.Seq)
	l.reach(doc.Seq)
}

// Dirty says whether something was pushed that is not durable.
func (p *Peers) Dirty() bool { return len(p.dirty) > 0 }

// Pushed gives the writes to this host's state that make durable what was pushed since
// the last call.
func (p *Peers) Pushed() ([]kvstore.Op, error) {
	var ops []kvstore.Op
	for of := range p.dirty {
		key := record.StateAttach + of[0] + "/" + of[1]
		doc, has := p.docs[of[0]][of[1]]
		if !has {
			ops = append(ops, record.Delete(key))
			continue
		}
		op, err := record.Put(key, doc.Attachment)
		if err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
	clear(p.dirty)
	return ops, nil
}
