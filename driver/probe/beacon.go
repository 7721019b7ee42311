package probe

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
)

// headers are the bytes of the IPv4 and UDP headers before a beacon.
const headers = 20 + 8

// kind is what a beacon is for.
type kind string

const (
	small  kind = "s" // does anything come?
	full   kind = "f" // does a packet of the network's MTU come?
	search kind = "x" // what is the largest that comes?
)

// beacon is what is sent: a header, this as JSON, and zeros that fill the packet.
type beacon struct {
	Host    string `json:"h"` // the sender
	Kind    kind   `json:"k"`
	MTU     int    `json:"m"`           // bytes of a full packet between the two hosts
	Largest int    `json:"l,omitempty"` // bytes of the largest packet that has come from the receiver
	Final   bool   `json:"x,omitempty"` // the search is over: no larger packet can come
	Row     *Row   `json:"r,omitempty"` // if it fits
}

// The header: magic, CRC-32C of all that follows, length of the JSON.
const (
	magic      = "weft"
	headLength = 4 + 4 + 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errDamaged = errors.New("a damaged beacon")

// encode makes the payload of a packet of size bytes, headers included. If size is 0,
// the packet is as small as it can be.
func (b beacon) encode(size int) ([]byte, error) {
	text, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encode a beacon: %w", err)
	}
	if size == 0 {
		size = headers + headLength + len(text)
	}
	if headers+headLength+len(text) > size {
		return nil, fmt.Errorf("a beacon of %d bytes does not fit into %d", headLength+len(text), size-headers)
	}
	out := make([]byte, size-headers)
	copy(out, magic)
	binary.BigEndian.PutUint16(out[8:], uint16(len(text)))
	copy(out[headLength:], text)
	binary.BigEndian.PutUint32(out[4:], crc32.Checksum(out[8:], castagnoli))
	return out, nil
}

// decode takes a payload apart. The error is errDamaged if it is not as it was sent.
func decode(p []byte) (beacon, error) {
	var b beacon
	if len(p) < headLength || string(p[:4]) != magic || binary.BigEndian.Uint32(p[4:]) != crc32.Checksum(p[8:], castagnoli) {
		return b, errDamaged
	}
	n := int(binary.BigEndian.Uint16(p[8:]))
	if headLength+n > len(p) {
		return b, errDamaged
	}
	if err := json.Unmarshal(p[headLength:headLength+n], &b); err != nil {
		return b, fmt.Errorf("decode a beacon: %w", err)
	}
	return b, nil
}
