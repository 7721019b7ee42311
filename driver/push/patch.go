package push

import (
	"cmp"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"github.com/weft-net/weft/driver/overlay"
)

// patch leads from one document to the next, for hosts that have the first. A host
// with more than a handful of endpoints in a network has a document that fits
// no datagram, and changes them one by one.
type patch struct {
	Base  uint64       `json:"b"`           // number of the document as it was
	Drop  []string     `json:"x,omitempty"` // ids of endpoints that are gone
	Stock []netip.Addr `json:"y,omitempty"` // addresses that are not in stock any more
}

// diff gives the patch from was to now, and now with only its news; false if no
// patch leads there.
func diff(was, now overlay.Attachment) (patch, overlay.Attachment, bool) {
	p, news := patch{Base: was.Seq}, now
	news.Endpoints, news.Stock = nil, nil
	old := make(map[string]overlay.PeerEndpoint, len(was.Endpoints))
	for _, e := range was.Endpoints {
		old[e.ID] = e
	}
	for _, e := range now.Endpoints {
		if o, had := old[e.ID]; !had || !reflect.DeepEqual(o, e) {
			news.Endpoints = append(news.Endpoints, e)
		}
		delete(old, e.ID)
	}
	p.Drop = slices.Sorted(maps.Keys(old))
	news.Stock, p.Stock = without(now.Stock, was.Stock), without(was.Stock, now.Stock)
	return p, news, reflect.DeepEqual(p.apply(was, news), now)
}

// without gives the addresses of a that are not in b.
func without(a, b []netip.Addr) []netip.Addr {
	in := make(map[netip.Addr]bool, len(b))
	for _, x := range b {
		in[x] = true
	}
	return slices.DeleteFunc(slices.Clone(a), func(x netip.Addr) bool { return in[x] })
}

// apply makes the present document from the former one and the news.
func (p patch) apply(was, news overlay.Attachment) overlay.Attachment {
	now := news
	now.Endpoints = slices.Clone(news.Endpoints)
	for _, o := range was.Endpoints {
		again := func(e overlay.PeerEndpoint) bool { return e.ID == o.ID }
		if !slices.Contains(p.Drop, o.ID) && !slices.ContainsFunc(news.Endpoints, again) {
			now.Endpoints = append(now.Endpoints, o)
		}
	}
	slices.SortFunc(now.Endpoints, func(a, b overlay.PeerEndpoint) int { return cmp.Compare(a.ID, b.ID) })
	now.Stock = slices.Concat(news.Stock, without(was.Stock, p.Stock))
	slices.SortFunc(now.Stock, netip.Addr.Compare)
	return now
}
