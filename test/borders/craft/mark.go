package craft

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net"
)

// Mark says which frame this is. Every frame carries one; a datagram gets in when
// all of its pieces do.
type Mark struct {
	Row    uint16
	Index  uint32
	Piece  uint8
	Pieces uint8
}

var magic = []byte("wEfTb0rD")

const markSize = 16

// Bytes is the mark as it is in a frame.
func (m Mark) Bytes() []byte {
	b := binary.BigEndian.AppendUint16(bytes.Clone(magic), m.Row)
	b = binary.BigEndian.AppendUint32(b, m.Index)
	return append(b, m.Piece, m.Pieces)
}

// Find gives the last mark in a frame.
func Find(frame []byte) (Mark, bool) {
	i := bytes.LastIndex(frame, magic)
	if i < 0 || len(frame) < i+markSize {
		return Mark{}, false
	}
	b := frame[i+len(magic):]
	return Mark{binary.BigEndian.Uint16(b), binary.BigEndian.Uint32(b[2:]), b[6], b[7]}, true
}

// mark is that of a shot in one piece.
func (d *draw) mark() []byte {
	return Mark{Row: d.job.Row, Index: uint32(d.index), Pieces: 1}.Bytes()
}

// MAC is a hardware address.
type MAC [6]byte

// Broadcast is everybody's.
var Broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// ParseMAC reads what ip-link(8) prints.
func ParseMAC(s string) (m MAC, err error) {
	h, err := net.ParseMAC(s)
	copy(m[:], h)
	return m, err
}

// MarshalText makes a MAC a string in JSON.
func (m MAC) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(m[:])), nil }

// UnmarshalText is the reverse of MarshalText.
func (m *MAC) UnmarshalText(text []byte) error {
	_, err := hex.Decode(m[:], text)
	return err
}
