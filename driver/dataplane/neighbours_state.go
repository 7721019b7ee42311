package dataplane

import (
	"net/netip"
	"time"

	"github.com/weft-net/weft/driver/dataplane/direct"
	"github.com/weft-net/weft/driver/overlay"
)

// Directs tells of packets without a tunnel.
type Directs struct {
	NIC  overlay.MAC // where this host takes them; zero: nowhere
	Why  string      // nowhere because of it
	Ways []Way       // by VTEP and network
}

// Way is how packets of one network go to another host that takes them without a tunnel.
type Way struct {
	Network string // id
	VTEP    netip.Addr
	State   direct.State
	Since   time.Time // of State
}

// Directs tells it, as of the last second.
func (d *Dataplane) Directs() Directs {
	if s := d.directs.Load(); s != nil {
		return *s
	}
	return Directs{Why: "no host has been probed yet"}
}
