package claim

import (
	"net/netip"

	"github.com/weft-net/weft/driver/overlay"
)

// Holder is what the shared store has of an address: whose it is.
type Holder struct {
	Host        string `json:"h"`
	Incarnation string `json:"i"`
	Birth
	Rest overlay.Rest `json:"-"`
}

// MarshalJSON implements json.Marshaler.
func (h Holder) MarshalJSON() ([]byte, error) {
	type plain Holder
	return overlay.MarshalRest(plain(h), h.Rest)
}

// UnmarshalJSON implements json.Unmarshaler.
func (h *Holder) UnmarshalJSON(b []byte) (err error) {
	type plain Holder
	var p plain
	rest, err := overlay.UnmarshalRest(b, &p)
	*h = Holder(p)
	h.Rest = rest
	return err
}

// Birth is when an address was claimed first. Revisions grow within an epoch of the
// shared store, and epochs grow from one to the next.
type Birth struct {
	Epoch    uint64 `json:"e,omitempty"`
	Revision uint64 `json:"r,omitempty"` // of the key then; 0: the key has not been written since
}

// Before says whether b is certainly earlier than o.
func (b Birth) Before(o Birth) bool {
	return b.Epoch < o.Epoch || b.Epoch == o.Epoch && b.Revision != 0 && b.Revision < o.Revision
}

// Entry is an address's key in the shared store.
type Entry struct {
	Holder   Holder
	Revision uint64 // of the key; 0: there is no key
}

// Entries are the keys of one pool's addresses.
type Entries map[netip.Addr]Entry

// Born is when the holder claimed the address.
func (e Entry) Born() Birth {
	b := e.Holder.Birth
	if b.Revision == 0 {
		b.Revision = e.Revision
	}
	return b
}

// Self is the host whose claims are looked at.
type Self struct {
	Host        string // its name, unique in the cluster
	Incarnation string // new whenever the host has lost its state
}

// Mark is what the host writes into the key of an address that it claimed at born.
func (s Self) Mark(born Birth) Holder {
	return Holder{Host: s.Host, Incarnation: s.Incarnation, Birth: born}
}

// Remark is what the host writes over a mark of its own.
func (s Self) Remark(e Entry) Holder {
	return Holder{Host: s.Host, Incarnation: s.Incarnation, Birth: e.Born(), Rest: e.Holder.Rest}
}

// Has says whether the key names the host, in whichever incarnation.
func (s Self) Has(h Holder) bool { return h.Host == s.Host }

// HasNow says whether the key names the host in its present incarnation.
func (s Self) HasNow(h Holder) bool { return s.Has(h) && h.Incarnation == s.Incarnation }
