package names

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// What a container gets through weft is what Docker's resolver says to the same
// bytes, byte for byte.
func TestWhatIsNotOursIsAnsweredByDockerUnchanged(t *testing.T) {
	world(t, func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.RecursionAvailable, m.Compress = true, true
		name := q.Question[0].Name
		header := dns.RR_Header{Name: name, Rrtype: q.Question[0].Qtype, Class: dns.ClassINET, Ttl: 300}
		if opt := q.IsEdns0(); opt != nil {
			m.SetEdns0(1232, opt.Do())
		}
		switch first, _, _ := strings.Cut(strings.ToLower(name), "."); first {
		case "a":
			m.Answer = []dns.RR{&dns.A{Hdr: header, A: net.IPv4(192, 0, 2, 1).To4()}}
		case "mx":
			m.Answer = []dns.RR{&dns.MX{Hdr: header, Preference: 10, Mx: "mail.example.com."}}
		case "big":
			for i := range 150 {
				m.Answer = append(m.Answer, &dns.TXT{Hdr: header, Txt: []string{fmt.Sprintf("%0100d", i)}})
			}
			if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
				m.Truncate(dns.MinMsgSize)
			}
		case "servfail":
			m.Rcode = dns.RcodeServerFailure
		case "refused":
			m.Rcode = dns.RcodeRefused
		case "nodata":
		default:
			m.Rcode = dns.RcodeNameError
		}
		_ = w.WriteMsg(m)
	})
	n := network(t, "unchanged")
	b := start(t, "h1", "asks", "--network", n)
	edns := func(m *dns.Msg) { m.SetEdns0(4096, true) }
	for _, c := range []struct {
		name   string
		qtype  uint16
		change func(*dns.Msg)
	}{
		{"a.example.com.", dns.TypeA, nil},
		{"A.eXample.COM.", dns.TypeA, nil},
		{"a.example.com.", dns.TypeA, edns},
		{"a.example.com.", dns.TypeA, func(m *dns.Msg) { m.RecursionDesired = false }},
		{"a.example.com.", dns.TypeA, func(m *dns.Msg) { m.CheckingDisabled, m.AuthenticatedData = true, true }},
		{"mx.example.com.", dns.TypeMX, nil},
		{"big.example.com.", dns.TypeTXT, nil},
		{"big.example.com.", dns.TypeTXT, edns},
		{"servfail.example.com.", dns.TypeA, nil},
		{"refused.example.com.", dns.TypeA, nil},
		{"nodata.example.com.", dns.TypeAAAA, nil},
		{"nobody.example.com.", dns.TypeA, nil},
		{"nobody.", dns.TypeA, nil},
		{"1.2.0.192.in-addr.arpa.", dns.TypePTR, nil},
		{"a.example.com.", dns.TypeHTTPS, nil},
		{"version.bind.", dns.TypeTXT, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }},
	} {
		m := new(dns.Msg).SetQuestion(c.name, c.qtype)
		if c.change != nil {
			c.change(m)
		}
		msg, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		for _, network := range []string{"udp4", "tcp4"} {
			through, straight := exchange(b.dial(network), msg), exchange(b.dialMarked(network, 0x77), msg)
			if !bytes.Equal(through, straight) {
				t.Errorf("%s %s %s: %q through weft, %q without", network, c.name, dns.TypeToString[c.qtype], through, straight)
			}
		}
	}
}

// exchange sends a message and gives the bytes that come back, or the error.
func exchange(c net.Conn, msg []byte) []byte {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(6 * time.Second))
	buf := make([]byte, 65535)
	if _, udp := c.(*net.UDPConn); udp {
		if _, err := c.Write(msg); err != nil {
			return []byte("error")
		}
		n, err := c.Read(buf)
		if err != nil {
			return []byte("error")
		}
		return buf[:n]
	}
	if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)); err != nil {
		return []byte("error")
	}
	if _, err := io.ReadFull(c, buf[:2]); err != nil {
		return []byte("error")
	}
	n := binary.BigEndian.Uint16(buf)
	if _, err := io.ReadFull(c, buf[:n]); err != nil {
		return []byte("error")
	}
	return buf[:n]
}
