package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func addrs(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, t := range texts {
		out = append(out, netip.MustParseAddr(t))
	}
	return out
}

// twoNets is a container's view of two networks.
func twoNets() View {
	return View{
		NewZone("back_net", []Record{
			{Names: []string{"proj-db-1", "db", "0123456789ab"}, Addrs: addrs("203.0.113.10")},
			{Names: []string{"proj-db-2", "db", "ba9876543210"}, Addrs: addrs("203.0.113.11")},
			{Names: []string{"both"}, Addrs: addrs("203.0.113.30")},
		}),
		NewZone("ov_net1", []Record{
			{Names: []string{"BBox2", "Web.Example", "naïve host"}, Addrs: addrs("192.0.2.2", "2001:db8::2")},
			{Names: []string{"both"}, Addrs: addrs("192.0.2.30", "2001:db8::30")},
			{Names: []string{strings.Repeat("x", 64), "", "a..b", "ok"}, Addrs: addrs("192.0.2.40")},
		}),
	}
}

// query is a message that asks for a name.
func query(tb testing.TB, name string, qtype uint16, change ...func(*dns.Msg)) []byte {
	tb.Helper()
	m := new(dns.Msg).SetQuestion(name, qtype)
	for _, f := range change {
		f(m)
	}
	out, err := m.Pack()
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// reply is what the view answers; nil if the name is not its own.
func reply(tb testing.TB, v View, msg []byte, limit int) *dns.Msg {
	tb.Helper()
	q, fate := parse(msg)
	if fate != asked {
		tb.Fatalf("parse gives fate %d", fate)
	}
	out := v.answer(msg, q, limit)
	if out == nil {
		return nil
	}
	var m dns.Msg
	if err := m.Unpack(out); err != nil {
		tb.Fatal(err)
	}
	return &m
}

func TestAnswers(t *testing.T) {
	v := twoNets()
	for _, c := range []struct {
		name  string
		qtype uint16
		want  string // data, sorted; "none" is no data, "" not ours
	}{
		{"bbox2.", dns.TypeA, "192.0.2.2"},
		{"bBOX2.", dns.TypeAAAA, "2001:db8::2"},
		{"bbox2.ov_net1.", dns.TypeA, "192.0.2.2"},
		{"bbox2.OV_NET1.", dns.TypeA, "192.0.2.2"},
		{"bbox2.back_net.", dns.TypeA, ""},
		{"bbox2.example.com.", dns.TypeA, ""},
		{"web.example.", dns.TypeA, "192.0.2.2"},
		{"web.example.ov_net1.", dns.TypeA, "192.0.2.2"},
		{`na\195\175ve\ host.`, dns.TypeA, "192.0.2.2"},
		{"bbox2.", dns.TypeMX, "none"},
		{"bbox2.", dns.TypeHTTPS, "none"},
		{"bbox2.", dns.TypeANY, "192.0.2.2 2001:db8::2"},
		{"db.", dns.TypeA, "203.0.113.10 203.0.113.11"},
		{"db.back_net.", dns.TypeA, "203.0.113.10 203.0.113.11"},
		{"db.", dns.TypeAAAA, "none"},
		{"0123456789ab.", dns.TypeA, "203.0.113.10"},
		{"both.", dns.TypeA, "203.0.113.30"},
		{"both.", dns.TypeAAAA, "2001:db8::30"},
		{"both.ov_net1.", dns.TypeA, "192.0.2.30"},
		{"ok.", dns.TypeA, "192.0.2.40"},
		{"2.2.0.192.in-addr.arpa.", dns.TypePTR, "BBox2.ov_net1."},
		{"2.2.0.192.IN-ADDR.arpa.", dns.TypePTR, "BBox2.ov_net1."},
		{"2.2.0.192.in-addr.arpa.", dns.TypeA, "none"},
		{"2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.", dns.TypePTR, "BBox2.ov_net1."},
		{"99.2.0.192.in-addr.arpa.", dns.TypePTR, ""},
		{"back_net.", dns.TypeA, ""},
		{".", dns.TypeA, ""},
		{".", dns.TypeNS, ""},
		{strings.Repeat("x", 63) + ".", dns.TypeA, ""},
	} {
		m := reply(t, v, query(t, c.name, c.qtype), 0)
		if got := data(m); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.name, dns.TypeToString[c.qtype], got, c.want)
		}
		if m == nil {
			continue
		}
		if m.Rcode != dns.RcodeSuccess || !m.Response || !m.RecursionAvailable || !m.RecursionDesired || len(m.Question) != 1 {
			t.Errorf("%s: header %v", c.name, m.MsgHdr)
		}
		for _, rr := range m.Answer {
			if h := rr.Header(); h.Name != c.name || h.Ttl > 5 || h.Ttl == 0 {
				t.Errorf("%s: answers with %v", c.name, h)
			}
		}
	}
}

func data(m *dns.Msg) string {
	if m == nil {
		return ""
	}
	var out []string
	for _, rr := range m.Answer {
		out = append(out, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	slices.Sort(out)
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, " ")
}

func TestOnlyOneQuestionOfOurClassIsAnswered(t *testing.T) {
	v := twoNets()
	for name, msg := range map[string][]byte{
		"class CHAOS": query(t, "bbox2.", dns.TypeA, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }),
		"an update":   query(t, "bbox2.", dns.TypeSOA, func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }),
	} {
		if _, fate := parse(msg); fate != foreign {
			t.Errorf("%s: fate %d, want it passed on", name, fate)
		}
	}
	for name, msg := range map[string][]byte{
		"no question":         query(t, "bbox2.", dns.TypeA, func(m *dns.Msg) { m.Question = nil }),
		"two questions":       query(t, "bbox2.", dns.TypeA, func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }),
		"a compression loop":  append(append(header(), 0xc0, 0x0c), 0, 1, 0, 1),
		"a cut question":      append(header(), 3, 'a', 'b', 'c', 0, 0, 1, 0),
		"a label over 63":     append(append(header(), 64), make([]byte, 80)...),
		"a header and no end": header(),
	} {
		q, fate := parse(msg)
		if fate != malformed {
			t.Errorf("%s: fate %d, want it refused", name, fate)
			continue
		}
		var m dns.Msg
		if err := m.Unpack(failure(msg, q, formatError)); err != nil || m.Rcode != dns.RcodeFormatError || !m.Response {
			t.Errorf("%s: refused with %v (%v)", name, m, err)
		}
	}
	for name, msg := range map[string][]byte{
		"nothing":   nil,
		"11 bytes":  header()[:11],
		"an answer": query(t, "bbox2.", dns.TypeA, func(m *dns.Msg) { m.Response = true }),
	} {
		if _, fate := parse(msg); fate != ignored {
			t.Errorf("%s: fate %d, want it ignored", name, fate)
		}
	}
	// A question of ours with rubbish behind it.
	msg := append(query(t, "bbox2.", dns.TypeA), 1, 2, 3)
	msg[11] = 1 // one additional record
	if m := reply(t, v, msg, 0); m.Rcode != dns.RcodeFormatError {
		t.Errorf("rubbish behind the question: %v", m)
	}
}

// header is that of a query with one question.
func header() []byte { return []byte{0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0} }

func TestOrderTurns(t *testing.T) {
	v := View{NewZone("n", []Record{
		{Names: []string{"a", "s"}, Addrs: addrs("192.0.2.1")},
		{Names: []string{"b", "s"}, Addrs: addrs("192.0.2.2")},
		{Names: []string{"c", "s"}, Addrs: addrs("192.0.2.3")},
	})}
	first := map[string]int{}
	for range 300 {
		m := reply(t, v, query(t, "s.", dns.TypeA), 0)
		if len(m.Answer) != 3 {
			t.Fatal(m)
		}
		first[m.Answer[0].(*dns.A).A.String()]++
		reply(t, v, query(t, "s.", dns.TypeAAAA), 0) // as clients ask
	}
	for a, n := range first {
		if n != 100 || len(first) != 3 {
			t.Errorf("%s comes first %d times of 300: %v", a, n, first)
		}
	}
}

func TestEDNS(t *testing.T) {
	var records []Record
	for i := range 100 {
		records = append(records, Record{Names: []string{fmt.Sprint("c", i), "s"}, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})}})
	}
	v := View{NewZone("n", records)}
	edns := func(size uint16, version uint8) func(*dns.Msg) {
		return func(m *dns.Msg) {
			m.SetEdns0(size, true)
			m.IsEdns0().SetVersion(version)
		}
	}
	for _, c := range []struct {
		what      string
		msg       []byte
		limit     int
		all, edns bool
	}{
		{"plain", query(t, "s.", dns.TypeA), 0, false, false},
		{"too small a size", query(t, "s.", dns.TypeA, edns(100, 0)), 0, false, true},
		{"large size", query(t, "s.", dns.TypeA, edns(4096, 0)), 0, true, true},
		{"TCP", query(t, "s.", dns.TypeA), tcpSize, true, false},
		{"TCP with EDNS", query(t, "s.", dns.TypeA, edns(512, 0)), tcpSize, true, true},
	} {
		m := reply(t, v, c.msg, c.limit)
		if m.Truncated == c.all || len(m.Answer) == 100 != c.all || len(m.Answer) < 20 || (m.IsEdns0() != nil) != c.edns {
			t.Errorf("%s: %d answers, truncated %v, EDNS %v", c.what, len(m.Answer), m.Truncated, m.IsEdns0())
		}
	}
	if m := reply(t, v, query(t, "s.", dns.TypeA, edns(4096, 1)), 0); m.Rcode != dns.RcodeBadVers || len(m.Answer) != 0 {
		t.Errorf("EDNS version 1: %v", m)
	}
}

// Whatever comes from a container, parsing and answering neither fail nor say
// anything that is no message.
func FuzzQuery(f *testing.F) {
	v := twoNets()
	f.Add(query(f, "bbox2.", dns.TypeA))
	f.Add(query(f, "db.back_net.", dns.TypeANY, func(m *dns.Msg) { m.SetEdns0(1232, true) }))
	f.Add(query(f, "2.2.0.192.in-addr.arpa.", dns.TypePTR))
	f.Add(append(append(header(), 0xc0, 0x0c), 0, 1, 0, 1))
	f.Fuzz(func(t *testing.T, msg []byte) {
		q, fate := parse(msg)
		var out []byte
		switch fate {
		case malformed, foreign:
			out = failure(msg, q, formatError)
		case asked:
			if out = v.answer(msg, q, 0); out == nil {
				out = failure(msg, q, serverFailure)
			}
		case ignored:
			return
		}
		var m dns.Msg
		if err := m.Unpack(out); err != nil {
			t.Fatalf("%x is answered by %x: %v", msg, out, err)
		}
		if !m.Response || m.Id != uint16(msg[0])<<8|uint16(msg[1]) {
			t.Fatalf("%x is answered by %v", msg, m)
		}
	})
}

// A name of Docker's is found by those who ask for it, or by nobody.
func FuzzName(f *testing.F) {
	f.Add("bbox2", "ov_net1")
	f.Add("a.b c", "Ärger.x")
	f.Add("..", `\.`)
	f.Fuzz(func(t *testing.T, name, network string) {
		v := View{NewZone(network, []Record{{Names: []string{name}, Addrs: addrs("192.0.2.1", "2001:db8::1")}})}
		key, ok := canonical(name)
		if !ok {
			return
		}
		m := new(dns.Msg).SetQuestion(strings.ToUpper(key), dns.TypeA)
		if !isASCII(key) {
			t.Fatalf("%q: canonical form %q", name, key)
		}
		msg, err := m.Pack()
		if err != nil {
			t.Fatalf("%q: %v", key, err)
		}
		q, fate := parse(msg)
		if fate != asked {
			t.Fatalf("%q: fate %d", key, fate)
		}
		if out := v.answer(msg, q, 0); out == nil {
			t.Fatalf("%q is not found", key)
		}
	})
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}

func BenchmarkAnswer(b *testing.B) {
	var records []Record
	for i := range 1000 {
		records = append(records, Record{Names: []string{fmt.Sprint("container", i), "alias", fmt.Sprintf("%012x", i)}, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)})}})
	}
	b.Run("index-1000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			NewZone("n", records)
		}
	})
	v := View{NewZone("n", records)}
	msg := query(b, "container500.", dns.TypeA)
	b.Run("answer", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			q, _ := parse(msg)
			v.answer(msg, q, 0)
		}
	})
	other := query(b, "example.com.", dns.TypeA)
	b.Run("not-ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			q, _ := parse(other)
			v.answer(other, q, 0)
		}
	})
}
