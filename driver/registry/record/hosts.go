package record

import (
	"maps"
	"strings"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/skipped"
	"github.com/weft-net/weft/kvstore"
)

// HostUpdate is what the records under host/<host>/ say of one host.
type HostUpdate struct {
	Doc    HostDoc
	Unread bool   // Doc is there and cannot be used: what was known of the host stays
	Live   bool   // its lease is held
	Lease  uint64 // revision of the live key
	Marked bool   // the host was declared dead
	Veto   Veto
}

// Hosts is what the records under host/ say.
type Hosts struct {
	Updates map[string]HostUpdate // by host
	Passed  []skipped.Record      // what cannot be used
	Unread  map[string]bool       // keys of Passed
}

// ReadHosts groups the store's host/ records by host.
func ReadHosts(pairs []kvstore.Pair) Hosts {
	out := Hosts{Updates: map[string]HostUpdate{}, Unread: map[string]bool{}}
	pass := func(key string, err error) {
		r, _ := skipped.Of(key, err)
		if r.Cure == "" && strings.HasSuffix(key, "/doc") {
			r.Cure = OwnersCure
		}
		out.Passed, out.Unread[key] = append(out.Passed, r), true
	}
	for _, p := range pairs {
		name, leaf, ok := ParseHostKey(p.Key)
		if !ok {
			pass(p.Key, format.Faultf(format.Unknown, "stands under a key that weft does not know"))
			continue
		}
		u := out.Updates[name]
		switch leaf {
		case "doc":
			doc, err := format.Decode[HostDoc](p.Value)
			if err == nil {
				err = checkHost(name, doc)
			}
			if err != nil {
				pass(p.Key, err)
				u.Unread = true
				break
			}
			u.Doc = doc
		case "live":
			u.Live, u.Lease = p.Held, p.Revision
		case "dead":
			u.Marked = true
		case "heard":
			u.Veto = readVeto(p)
		case "owner":
			if err := checkOwner(p.Value); err != nil {
				pass(p.Key, err)
			}
		}
		out.Updates[name] = u
	}
	maps.DeleteFunc(out.Updates, func(_ string, u HostUpdate) bool { return u.Doc.Name == "" && !u.Unread })
	return out
}

// OwnersCure is what to do about a record that a host goes on writing.
const OwnersCure = "if that host runs, update weft on it or correct its settings (--advertise, --mtu); else delete the record"
