package dns

import (
	"encoding/binary"
	"strings"

	"github.com/miekg/dns"
)

// headerSize is a message's least length (RFC 1035 section 4.1.1).
const headerSize = 12

// Bits of the header's second word (RFC 1035 section 4.1.1).
const (
	bitResponse  = 1 << 15
	maskOpcode   = 0xf << 11
	bitDesired   = 1 << 8 // recursion desired
	bitAvailable = 1 << 7 // recursion available
)

const (
	formatError   = dns.RcodeFormatError
	serverFailure = dns.RcodeServerFailure
)

// question is the part of a query that decides who answers it.
type question struct {
	name  string // in lower case, as unpacked, with the root's dot
	qtype uint16
	end   int // of the question section in the message
}

// fate is what is to become of a message.
type fate int

const (
	ignored   fate = iota // no query at all: an answer could begin a loop
	malformed             // to be refused with FORMERR
	foreign               // well-formed as far as it was read, but no plain query of ours: passed on
	asked                 // one question of class IN: ours if we have the name
)

// parse reads as much of a message as is needed to know what to do with it.
func parse(msg []byte) (question, fate) {
	var q question
	if len(msg) < headerSize {
		return q, ignored
	}
	flags := binary.BigEndian.Uint16(msg[2:])
	if flags&bitResponse != 0 {
		return q, ignored
	}
	// One question and no more (RFC 9619).
	if binary.BigEndian.Uint16(msg[4:]) != 1 {
		return q, malformed
	}
	name, off, err := dns.UnpackDomainName(msg, headerSize)
	if err != nil || len(msg) < off+4 || compressed(msg[headerSize:off]) {
		return q, malformed
	}
	q.name, q.qtype, q.end = strings.ToLower(name), binary.BigEndian.Uint16(msg[off:]), off+4
	if flags&maskOpcode != 0 || binary.BigEndian.Uint16(msg[off+2:]) != dns.ClassINET {
		return q, foreign
	}
	return q, asked
}

// compressed says whether a name has a pointer. A question can only point at
// itself or the header, which changes on the way to an answer.
func compressed(name []byte) bool {
	for i := 0; i < len(name); i += 1 + int(name[i]) {
		if name[i] >= 0xc0 {
			return true
		}
	}
	return false
}

// failure makes the answer that says only what is wrong. It repeats the
// question if that was understood.
func failure(msg []byte, q question, rcode int) []byte {
	out := make([]byte, max(headerSize, q.end))
	copy(out, msg)
	flags := binary.BigEndian.Uint16(msg[2:])&(maskOpcode|bitDesired) | bitResponse | bitAvailable | uint16(rcode)
	binary.BigEndian.PutUint16(out[2:], flags)
	clear(out[4:headerSize])
	if q.end > 0 {
		out[5] = 1
	}
	return out
}
