package dns

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/weft-net/weft/driver/overlay"
)

// dockerSays has Docker's resolver answer everything with these records.
func (s *scene) dockerSays(rcode int, answer ...string) {
	s.docker = func(_ string, msg []byte) []byte {
		var q, m dns.Msg
		if err := q.Unpack(msg); err != nil {
			s.tb.Error(err)
		}
		m.SetRcode(&q, rcode)
		for _, text := range answer {
			rr, err := dns.NewRR(text)
			if err != nil {
				s.tb.Error(err)
			}
			if rr.Header().Rrtype == dns.TypeSOA {
				m.Ns = append(m.Ns, rr)
			} else {
				m.Answer = append(m.Answer, rr)
			}
		}
		out, err := m.Pack()
		if err != nil {
			s.tb.Error(err)
		}
		return out
	}
}

// What Docker says of weft's networks, before weft knows the name and after it is
// gone, may be kept no longer than what weft says.
func TestNobodyKeepsDockersAnswersOfOurNames(t *testing.T) {
	const soa = "test. 3600 IN SOA ns.test. root.test. 1 2 3 4 86400"
	for name, c := range map[string]struct {
		asked string
		qtype uint16
		rcode int
		says  []string
		want  string // code, and TTLs of all records
	}{
		"a container that starts":             {"new.", dns.TypeA, 0, []string{"new. 600 IN A 192.0.2.8"}, "NOERROR [2]"},
		"the same by IPv6":                    {"new.", dns.TypeAAAA, 0, []string{"new. 600 IN AAAA 2001:db8::8"}, "NOERROR [2]"},
		"its reverse name":                    {"8.2.0.192.in-addr.arpa.", dns.TypePTR, 0, []string{"8.2.0.192.in-addr.arpa. 600 IN PTR new.net1."}, "NOERROR [2]"},
		"one that has started again":          {"old.", dns.TypeA, 0, []string{"old. 600 IN A 192.0.2.1"}, "NOERROR [2]"},
		"one that has stopped":                {"old.", dns.TypeA, 0, []string{"old. 600 IN A 192.0.2.7"}, "NXDOMAIN []"},
		"one that has stopped, another alive": {"old.", dns.TypeA, 0, []string{"old. 600 IN A 192.0.2.7", "old. 600 IN A 192.0.2.1"}, "NOERROR [2]"},
		"the same through an alias":           {"old.", dns.TypeA, 0, []string{"old. 600 IN CNAME x.test.", "x.test. 600 IN A 192.0.2.7"}, "NXDOMAIN []"},
		"one that has stopped, and is denied": {"old.", dns.TypeA, dns.RcodeNameError, []string{soa}, "NXDOMAIN [2]"},
		"a name out in the world":             {"world.", dns.TypeA, 0, []string{"world. 600 IN A 198.51.100.9"}, "NOERROR [600]"},
		"no name out in the world":            {"world.", dns.TypeA, dns.RcodeNameError, []string{soa}, "NXDOMAIN [3600]"},
		"a stranger's reverse name":           {"9.100.51.198.in-addr.arpa.", dns.TypePTR, 0, []string{"9.100.51.198.in-addr.arpa. 600 IN PTR new.other."}, "NOERROR [600]"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.change(func(o *overlay.Snapshot) {
				o.Networks["n1"] = overlay.Network{ID: "n1", Name: "net1", Subnets: []overlay.Subnet{
					{Prefix: netip.MustParsePrefix("192.0.2.0/24")}, {Prefix: netip.MustParsePrefix("2001:db8::/64")},
				}}
			})
			s.join("n1", "one", "/sb/one", "192.0.2.1")
			s.join("n1", "old", "/sb/old", "192.0.2.7")
			s.dockerSays(c.rcode, c.says...)
			s.start()
			one := s.box("/sb/one")
			s.change(func(o *overlay.Snapshot) { o.Local = o.Local[:1:1] })
			s.eventually("old is no name of weft's", func() bool {
				_, _, exists := s.responder("/sb/one").view.Load().find("old.", dns.TypeA)
				return !exists
			})
			for _, network := range transports {
				m := one.ask(network, c.asked, c.qtype)
				ttls := []uint32{}
				for _, rr := range slices.Concat(m.Answer, m.Ns) {
					ttls = append(ttls, rr.Header().Ttl)
				}
				if got := fmt.Sprint(dns.RcodeToString[m.Rcode], " ", ttls); got != c.want {
					t.Errorf("%s: %s, want %s", network, got, c.want)
				}
			}
		})
	}
}

func (s *scene) responder(path string) *responder {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	return s.server.responders[path]
}

func TestNamesThatAreGoneAreForgotten(t *testing.T) {
	now := time.Now()
	long, one := NewZone("net1", []Record{{Names: []string{"a", "b"}}}), NewZone("net1", []Record{{Names: []string{"a"}}})
	one.gone = one.outlived(long, now)
	if v := (View{one}); !v.lately("b.", now.Add(latelyFor-time.Second)) || v.lately("b.", now.Add(latelyFor+time.Second)) {
		t.Errorf("gone are %v", one.gone)
	}
	two := NewZone("net1", []Record{{Names: []string{"a"}}})
	if two.gone = two.outlived(one, now.Add(latelyFor+time.Second)); len(two.gone) > 0 {
		t.Errorf("later, gone are %v", two.gone)
	}
	if long.gone = long.outlived(one, now); len(long.gone) > 0 {
		t.Errorf("a name that is back is gone: %v", long.gone)
	}
}

// EDNS has no TTL, though it lies where others have theirs.
func TestTemperKeepsEDNS(t *testing.T) {
	v := View{NewZone("net1", []Record{{Names: []string{"a"}}})}
	var m dns.Msg
	m.SetQuestion("a.", dns.TypeA).SetEdns0(1232, true)
	in, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	q, _ := parse(in)
	if out := v.temper(q, in, time.Now()); !bytes.Equal(in, out) {
		t.Errorf("%x has become %x", in, out)
	}
}
