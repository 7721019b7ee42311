package doctor

import (
	"net/netip"
	"testing"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/overlay"
)

func with(n overlay.Network, own bool) control.State {
	s := control.State{Snapshot: overlay.Snapshot{
		Self:     overlay.Host{Name: "h1", VTEP: netip.MustParseAddr("192.0.2.1"), MTU: 1400},
		Networks: map[string]overlay.Network{n.ID: n},
	}}
	if own {
		s.Own = []overlay.Attachment{{Network: n.ID, Host: "h1"}}
	}
	return s
}

func TestPromisesOfNetworksThatExist(t *testing.T) {
	n := overlay.Network{ID: "n", Name: "web", Options: map[string]string{"encrypted": "", "foo": "bar"}}
	says(t, "kept by nobody", promises(with(n, true)), `"web"`, `encrypted=""`, "cannot encrypt", "anew")
	says(t, "elsewhere", promises(with(n, false)))
	n.Options = map[string]string{"encrypted": "false"}
	says(t, "kept", promises(with(n, true)))
}

func TestAFixedMTUThatTheUnderlayCannotCarry(t *testing.T) {
	n := overlay.Network{ID: "n", Name: "web", MTU: 1400}
	says(t, "too large", tooNarrow(with(n, true)), `"web"`, "1400", "1350", "1450", "h1")
	says(t, "elsewhere", tooNarrow(with(n, false)))
	n.MTU = 1350
	says(t, "fits", tooNarrow(with(n, true)))
	n.MTU = 0
	says(t, "none of its own", tooNarrow(with(n, true)))
}
