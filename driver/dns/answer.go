package dns

import (
	"net/netip"

	"github.com/miekg/dns"
)

// ttl of every answer, in seconds. A container that starts again has another
// address at once.
const ttl = 2

// Limits of an answer's size in bytes: without EDNS (RFC 1035 section 4.2.1),
// and over TCP.
const (
	plainSize = 512
	tcpSize   = dns.MaxMsgSize
)

// answer replies to a query if the view has its name; else it gives nil. limit
// is the most bytes that the transport carries, 0 that the client says it.
func (v View) answer(msg []byte, q question, limit int) []byte {
	addrs, ptr, exists := v.find(q.name, q.qtype)
	if !exists {
		return nil
	}
	var req dns.Msg
	if err := req.Unpack(msg); err != nil {
		return failure(msg, q, dns.RcodeFormatError)
	}
	var m dns.Msg
	m.SetReply(&req)
	m.RecursionAvailable, m.Compress = true, true // without, Go's resolver takes an empty answer for a lame one
	if limit == 0 {
		limit = plainSize
	}
	if opt := req.IsEdns0(); opt != nil {
		if limit < tcpSize {
			limit = max(plainSize, int(opt.UDPSize()))
		}
		m.SetEdns0(dns.DefaultMsgSize, opt.Do())
		if opt.Version() != 0 {
			m.Rcode = dns.RcodeBadVers
			return pack(&m, msg, q)
		}
	}
	header := dns.RR_Header{Name: req.Question[0].Name, Class: dns.ClassINET, Ttl: ttl}
	for _, a := range addrs {
		m.Answer = append(m.Answer, address(header, a))
	}
	if ptr != "" {
		header.Rrtype = dns.TypePTR
		m.Answer = append(m.Answer, &dns.PTR{Hdr: header, Ptr: ptr})
	}
	m.Truncate(limit)
	return pack(&m, msg, q)
}

func address(header dns.RR_Header, a netip.Addr) dns.RR {
	if a.Is4() {
		header.Rrtype = dns.TypeA
		return &dns.A{Hdr: header, A: a.AsSlice()}
	}
	header.Rrtype = dns.TypeAAAA
	return &dns.AAAA{Hdr: header, AAAA: a.AsSlice()}
}

func pack(m *dns.Msg, msg []byte, q question) []byte {
	out, err := m.Pack()
	if err != nil {
		return failure(msg, q, dns.RcodeServerFailure)
	}
	return out
}
