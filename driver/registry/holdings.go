package registry

import (
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
)

// holdings are this host's endpoints, and the networks that it knows.
type holdings struct {
	docker    map[string]attached              // by Docker's network id
	endpoints map[string]overlay.Endpoint      // own, by endpoint id
	remove    map[string]bool                  // network ids whose removal was asked here
	removing  map[string]bool                  // those of them that the store was asked for, with no answer yet
	halfMade  map[string]overlay.Network       // see settleHalfMade
	mirroring map[string]int                   // network id → requests to Docker under way, see Mirroring
	networks  map[string]overlay.Network       // by id, tombstones too
	decoded   map[string]record.DecodedNetwork // by key, as the store had them last
	graves    graves                           // of the tombstones among them
	absent    map[string]bool                  // attached networks that the store has lost
}

// attached says which network a Docker network is.
type attached struct {
	Network string    `json:"network"`
	At      time.Time `json:"at"`

	earlier bool // as an earlier process has recorded it
}

func newHoldings() *holdings {
	return &holdings{
		docker: map[string]attached{}, endpoints: map[string]overlay.Endpoint{}, remove: map[string]bool{}, removing: map[string]bool{},
		halfMade: map[string]overlay.Network{}, mirroring: map[string]int{}, networks: map[string]overlay.Network{}, graves: graves{seen: map[string]grave{}},
	}
}

// inUseLocked says whether this host has an endpoint in the network.
func (h *holdings) inUseLocked(network string) bool {
	for _, e := range h.endpoints {
		if e.Network == network {
			return true
		}
	}
	return false
}

// usesLocked says whether an endpoint of this host has the address.
func (h *holdings) usesLocked(a netip.Addr) bool {
	for _, e := range h.endpoints {
		if e.Phase == overlay.Lost {
			continue
		}
		if slices.Contains(e.Addrs, a) {
			return true
		}
	}
	return false
}
