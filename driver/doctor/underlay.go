package doctor

import (
	"context"
	"fmt"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/dataplane"
	"github.com/weft-net/weft/driver/overlay"
)

var underlayCheck = Check{
	Name: "underlay", Code: 15, About: "the underlay's address is on a link that is up, with the MTU that weft counts on",
	Run: func(_ context.Context, h *Host) ([]Finding, error) {
		s, err := h.state()
		if err != nil {
			return nil, err
		}
		self := s.Snapshot.Self
		if !self.VTEP.IsValid() {
			return []Finding{{
				Object: h.self(), Severity: control.Broken,
				Problem: fmt.Sprintf("%s has no underlay address, so its containers do not reach other hosts", h.self()),
				Cure:    "give the host an address, or name the one to use with --advertise",
			}}, nil
		}
		in, found, err := h.Kernel.InterfaceOf(self.VTEP)
		if err != nil {
			return nil, err
		}
		return underlayFindings(self, in, found), nil
	},
}

// noLink is why other checks of the underlay's link cannot be made. Here it is a
// finding.
const noLink = NotMade("the underlay's address is on no link")

func underlayFindings(self overlay.Host, in dataplane.Interface, found bool) []Finding {
	out := Finding{Severity: control.Broken}
	switch {
	case !found:
		out.Object = "address " + self.VTEP.String()
		out.Problem = fmt.Sprintf("the underlay address %s of host %s is on no link of this host, so its containers do not reach other hosts", self.VTEP, self.Name)
		out.Cure = "give the address back to its link, or name another with --advertise"
	case !in.Up:
		out.Object = "link " + in.Name
		out.Problem = fmt.Sprintf("the link %s, which has the underlay address %s of host %s, is down", in.Name, self.VTEP, self.Name)
		out.Cure = fmt.Sprintf("set it up (ip link set %s up)", in.Name)
	case self.MTU > in.MTU && !in.Virtual:
		out.Object = "link " + in.Name
		out.Problem = fmt.Sprintf("weft on host %s was told that the underlay takes packets of %d bytes (--mtu) and its link %s takes %d, so large packets of containers are lost or cut to pieces", self.Name, self.MTU, in.Name, in.MTU)
		out.Cure = fmt.Sprintf("leave --mtu out, or raise the MTU of %s", in.Name)
	default:
		return nil
	}
	return []Finding{out}
}
