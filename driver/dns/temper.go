package dns

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Docker's resolver knows of a container that starts before weft does, and of one
// that stops for a moment longer, and lets its answers be kept for 600 s (respTTL of
// libnetwork's resolver.go). Nobody would learn for so long that it has moved.

// latelyFor is how long a name is remembered once it is none of weft's: what has been
// kept of Docker's answers has ended by then.
const latelyFor = 600 * time.Second

// temper gives an answer of Docker's resolver as the container is to get it: that of
// a name or address of the view's networks may be kept no longer than weft's own. Left out
// are an address that the name had and nobody has any more, and one of a container that
// has not arrived. All others are unchanged.
func (v View) temper(q question, answer []byte, now time.Time) []byte {
	var m dns.Msg
	if m.Unpack(answer) != nil {
		return answer
	}
	lately, had := v.lately(q.name, now), len(m.Answer)
	m.Answer = slices.DeleteFunc(m.Answer, func(rr dns.RR) bool { return lately && v.stale(rr) || v.arriving(rr) })
	switch {
	case len(m.Answer) < had && !slices.ContainsFunc(m.Answer, isData):
		m.Answer, m.Rcode = nil, dns.RcodeNameError // as Docker says it a moment later
	case len(m.Answer) == had && !lately && !slices.ContainsFunc(m.Answer, v.concerns):
		return answer
	}
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			if h := rr.Header(); h.Rrtype != dns.TypeOPT { // whose TTL is none (RFC 6891 section 6.1.3)
				h.Ttl = min(h.Ttl, ttl)
			}
		}
	}
	m.Compress = true
	return pack(&m, answer, q)
}

// isData says whether a record is what was asked for, and no alias on the way there.
func isData(rr dns.RR) bool { return rr.Header().Rrtype != dns.TypeCNAME }

// lately says whether the name is one of the view's networks', or was so shortly ago.
func (v View) lately(name string, now time.Time) bool {
	return slices.ContainsFunc(v, func(z *Zone) bool {
		if z.owners[name] != nil {
			return true
		}
		until, was := z.gone[name]
		return was && now.Before(until)
	})
}

// concerns says whether a record is of an address or a name in the view's networks.
func (v View) concerns(rr dns.RR) bool {
	if ptr, ok := rr.(*dns.PTR); ok {
		return slices.ContainsFunc(v, func(z *Zone) bool {
			return z.Network != "" && strings.HasSuffix(strings.ToLower(ptr.Ptr), "."+strings.ToLower(z.Network)+".")
		})
	}
	a, ok := addressOf(rr)
	return ok && slices.ContainsFunc(v, func(z *Zone) bool { return z.contains(a) })
}

// stale says whether a record has an address of the view's networks that nobody has.
func (v View) stale(rr dns.RR) bool {
	a, ok := addressOf(rr)
	return ok && slices.ContainsFunc(v, func(z *Zone) bool {
		_, held := slices.BinarySearchFunc(z.held, a, netip.Addr.Compare)
		return z.whole && z.contains(a) && !held
	})
}

// arriving says whether a record has an address of an endpoint that has not arrived.
// Docker tells its names before it has brought its link up.
func (v View) arriving(rr dns.RR) bool {
	a, ok := addressOf(rr)
	return ok && slices.ContainsFunc(v, func(z *Zone) bool {
		_, coming := slices.BinarySearchFunc(z.coming, a, netip.Addr.Compare)
		return coming
	})
}

func (z *Zone) contains(a netip.Addr) bool {
	return slices.ContainsFunc(z.subnets, func(p netip.Prefix) bool { return p.Contains(a) })
}

// addressOf is the address that a record gives, if it is one that does.
func addressOf(rr dns.RR) (a netip.Addr, ok bool) {
	switch rr := rr.(type) {
	case *dns.A:
		a, ok = netip.AddrFromSlice(rr.A.To4())
	case *dns.AAAA:
		a, ok = netip.AddrFromSlice(rr.AAAA)
	}
	return a, ok
}
