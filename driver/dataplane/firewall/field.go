package firewall

import (
	"golang.org/x/sys/unix"
)

// field is some bytes, of which some may not be known.
type field struct {
	data  []byte
	known []bool
}

func newField(size int) field { return field{make([]byte, size), make([]bool, size)} }

// sure is a field of which all is known.
func sure(data ...byte) field {
	f := newField(len(data))
	f.put(0, data...)
	return f
}

// put makes bytes known.
func (f field) put(at int, data ...byte) {
	for i, b := range data {
		f.data[at+i], f.known[at+i] = b, true
	}
}

// part is a copy of length bytes at the offset; what lies behind is not known.
func (f field) part(offset, length int) field {
	out := newField(length)
	for i := range length {
		if at := offset + i; at < len(f.data) {
			out.data[i], out.known[i] = f.data[at], f.known[at]
		}
	}
	return out
}

// all says whether every byte is known.
func (f field) all() bool {
	for _, k := range f.known {
		if !k {
			return false
		}
	}
	return len(f.known) > 0
}

// registers are those of the kernel: 16 of four bytes, of which four in a row
// have a name too (linux/netfilter/nf_tables.h).
type registers struct {
	data  [64]byte
	known [64]bool
}

func registerAt(n uint32) int {
	if n >= unix.NFT_REG32_00 {
		return int(n-unix.NFT_REG32_00) * 4
	}
	return int(n-1) * 16 // NFT_REG_1 is 1
}

func (r *registers) set(n uint32, f field) {
	at := registerAt(n)
	if n == 0 || at >= len(r.data) {
		return // the verdict's
	}
	for i := range min(16, len(r.data)-at) { // what is not written is not known
		r.known[at+i] = false
	}
	copy(r.data[at:], f.data)
	copy(r.known[at:], f.known)
}

func (r *registers) get(n uint32, length int) field {
	at := registerAt(n)
	if n == 0 || at+length > len(r.data) {
		return newField(length)
	}
	return field{r.data[:], r.known[:]}.part(at, length)
}
