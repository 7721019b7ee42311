package record

import (
	"encoding/json"
	"fmt"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/skipped"
)

// Bounds of an endpoint's names. Docker has none, but a record has to fit the store.
const (
	MostNames   = 256 // of one endpoint
	LongestName = 253 // bytes (RFC 1035 section 2.3.4, as text)
)

// BoundNames gives the names of an endpoint that other hosts are told, which are its
// first ones, and how many names are left out.
func BoundNames(names []string) (kept []string, cut int) {
	for _, n := range names {
		if len(n) <= LongestName && len(kept) < MostNames {
			kept = append(kept, n)
		}
	}
	return kept, len(names) - len(kept)
}

// Fit encodes a document that other hosts read, after it was cut to what fits one
// record: names go first, the last ones of each endpoint, and then endpoints. cut says
// what was left out; empty: nothing. Hosts that do not know an endpoint flood what is
// for it, so it is reached without its names.
func Fit(at *overlay.Attachment, most int) (b []byte, cut string, err error) {
	for names := MostNames; ; names /= 2 {
		if b, err = json.Marshal(at); err != nil || len(b) <= most {
			return b, cut, err
		}
		if names == 0 {
			break
		}
		at.Endpoints = withNames(at.Endpoints, names/2)
		cut = fmt.Sprintf("no more than %d names of a container", names/2)
	}
	for len(b) > most && len(at.Endpoints) > 0 {
		at.Endpoints = at.Endpoints[:len(at.Endpoints)/2]
		cut = fmt.Sprintf("no more than %d containers and none of their names", len(at.Endpoints))
		if b, err = json.Marshal(at); err != nil {
			return nil, cut, err
		}
	}
	return b, cut, nil
}

// withNames gives the endpoints with the first n names of each at most.
func withNames(endpoints []overlay.PeerEndpoint, n int) []overlay.PeerEndpoint {
	out := make([]overlay.PeerEndpoint, len(endpoints))
	for i, e := range endpoints {
		if e.Names = e.Names[:min(n, len(e.Names))]; n == 0 {
			e.Name = ""
		}
		out[i] = e
	}
	return out
}

// Cut tells that a document of this host was cut.
func Cut(at overlay.Attachment, network, cut string) skipped.Record {
	return skipped.Record{
		Key: AttachmentKey(at.Host, at.Network), Kind: format.Large,
		Why:  fmt.Sprintf("is too large with all that this host has in network %q, so the other hosts are told %s", network, cut),
		Cure: "give the containers of that network on this host fewer names (--network-alias)",
	}
}
