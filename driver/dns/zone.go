package dns

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Record is one endpoint: by what names it is found, and where.
type Record struct {
	Names []string // as Docker has them; the first is the container's
	Addrs []netip.Addr
	Near  bool // on this host, so that Docker's resolver here knows it too
}

// Zone is one network's names, indexed once and then only read.
type Zone struct {
	Network string // its name, "" while unknown
	owners  map[string]*owner
	gone    map[string]time.Time // names that were its own, and until when they are remembered
	around
}

// around is what else a zone knows of its network.
type around struct {
	subnets []netip.Prefix
	held    []netip.Addr // by endpoints of all hosts, whether they have names or not; sorted
	coming  []netip.Addr // of this host's endpoints that have not arrived; sorted
	whole   bool         // held is all of them
}

// owner is all that one name owns.
type owner struct {
	v4, v6 []netip.Addr // sorted
	ptr    string       // of a reverse name
	near   bool         // one of them is of an endpoint on this host
	turn   atomic.Uint32
}

// NewZone indexes the endpoints of one network. A name that no query can
// carry, say because a label has more than 63 bytes, is left out.
func NewZone(network string, records []Record) *Zone {
	z := &Zone{Network: network, owners: make(map[string]*owner, 4*len(records))}
	for _, r := range records {
		for _, name := range r.Names {
			z.add(name, r)
			if network != "" {
				z.add(name+"."+network, r)
			}
		}
		if len(r.Names) == 0 {
			continue
		}
		target, ok := canonical(strings.TrimSuffix(r.Names[0]+"."+network, "."))
		if !ok {
			continue
		}
		for _, a := range r.Addrs {
			if reverse, err := dns.ReverseAddr(a.String()); err == nil {
				o := z.owner(reverse)
				o.ptr, o.near = target, o.near || r.Near
			}
		}
	}
	for _, o := range z.owners {
		sortAddrs(&o.v4)
		sortAddrs(&o.v6)
		o.turn.Store(rand.Uint32())
	}
	return z
}

func (z *Zone) add(name string, r Record) {
	key, ok := canonical(name)
	if !ok {
		return
	}
	o := z.owner(strings.ToLower(key))
	o.near = o.near || r.Near
	for _, a := range r.Addrs {
		if a.Is4() {
			o.v4 = append(o.v4, a)
		} else {
			o.v6 = append(o.v6, a)
		}
	}
}

func (z *Zone) owner(key string) *owner {
	o := z.owners[key]
	if o == nil {
		o = &owner{}
		z.owners[key] = o
	}
	return o
}

func sortAddrs(list *[]netip.Addr) {
	slices.SortFunc(*list, netip.Addr.Compare)
	*list = slices.Compact(*list)
}

// canonical gives a name of Docker's in the form in which a query's name is
// unpacked, with escapes and the root's dot.
func canonical(name string) (string, bool) {
	var wire [256]byte
	n := 0
	for label := range strings.SplitSeq(name, ".") {
		// 255 bytes in all, with the root's (RFC 1035 section 2.3.4).
		if label == "" || len(label) > 63 || n+1+len(label)+1 > 255 {
			return "", false
		}
		wire[n] = byte(len(label))
		n += 1 + copy(wire[n+1:], label)
	}
	out, _, err := dns.UnpackDomainName(wire[:n+1], 0)
	return out, err == nil
}

// View is the zones of one sandbox, in the order in which they are asked.
type View []*Zone

// find gives what the name owns of the type: addresses, or the target of a
// PTR. exists says whether the name is one of the view's at all.
func (v View) find(name string, qtype uint16) (addrs []netip.Addr, ptr string, exists bool) {
	for _, z := range v {
		o := z.owners[name]
		if o == nil {
			continue
		}
		exists = true
		switch qtype {
		case dns.TypeA:
			addrs = o.rotated(o.v4)
		case dns.TypeAAAA:
			addrs = o.rotated(o.v6)
		case dns.TypePTR:
			ptr = o.ptr
		case dns.TypeANY:
			addrs, ptr = append(o.rotated(o.v4), o.v6...), o.ptr
		}
		if len(addrs) > 0 || ptr != "" {
			return addrs, ptr, true
		}
	}
	return nil, "", exists
}

// rotated gives the list beginning with another one each time.
func (o *owner) rotated(list []netip.Addr) []netip.Addr {
	if len(list) < 2 {
		return slices.Clip(list)
	}
	at := int(o.turn.Add(1) % uint32(len(list)))
	return slices.Concat(list[at:], list[:at])
}
