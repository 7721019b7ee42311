package match

import (
	"slices"
	"strconv"

	"github.com/weft-net/weft/driver/mirror/engine"
	"github.com/weft-net/weft/driver/option"
	"github.com/weft-net/weft/driver/overlay"
)

// Identify finds out which of Docker's networks is which in the kernel: by the id
// that a person has chosen, by a container's link, or by the VNI among the options
// of a mirrored network. The result is by Docker's id.
func Identify(networks []engine.Network, endpoints []engine.Endpoint, remains []overlay.Remains) map[string]overlay.Remains {
	out := map[string]overlay.Remains{}
	for _, n := range networks {
		i := slices.IndexFunc(remains, func(k overlay.Remains) bool {
			return n.Options[option.ID] == k.ID ||
				k.VNI != 0 && n.Options[option.VNIList] == strconv.FormatUint(uint64(k.VNI), 10) ||
				slices.ContainsFunc(endpoints, func(e engine.Endpoint) bool {
					return e.Network == n.ID && slices.Contains(k.Ports, overlay.PortLink(e.ID))
				})
		})
		if i >= 0 {
			out[n.ID] = remains[i]
		}
	}
	return out
}
