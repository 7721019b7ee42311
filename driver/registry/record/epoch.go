package record

import (
	"net/netip"
	"time"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/kvstore"
)

// Epoch is the store's life between two losses of data.
type Epoch struct {
	N     uint64    `json:"n"` // from 1, higher in each
	ID    string    `json:"epoch"`
	Hosts []string  `json:"hosts,omitempty"` // that the host that began it knew of
	By    string    `json:"by"`
	At    time.Time `json:"at"`

	// VTEPs are of the hosts that the kernel of a host without records knew.
	VTEPs []netip.Addr `json:"vteps,omitempty"`
}

// StoredEpoch finds the epoch among the records under net/. A format.Fault says why its
// record cannot be used.
func StoredEpoch(pairs []kvstore.Pair) (e Epoch, revision uint64, err error) {
	for _, p := range pairs {
		if p.Key != EpochKey {
			continue
		}
		e, err := format.Decode[Epoch](p.Value)
		if err == nil && (e.ID == "" || e.N == 0) {
			err = format.Faultf(format.Senseless, "has no number or no id")
		}
		return e, p.Revision, err
	}
	return e, 0, nil
}

// Revisions gives the revisions of the lasting records.
func Revisions(pairs []kvstore.Pair) map[string]uint64 {
	out := map[string]uint64{}
	for _, p := range pairs {
		if Lasting(p.Key) {
			out[p.Key] = p.Revision
		}
	}
	return out
}
