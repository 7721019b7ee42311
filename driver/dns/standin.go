package dns

import (
	"bytes"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// far are the names that the view has and Docker's resolver on this host does not, as
// they are in queries, sorted: when weft is gone it would ask other nameservers for
// them, who say that there are none.
func (v View) far() [][]byte {
	var out [][]byte
	buf := make([]byte, 255)
	for _, z := range v {
		for name := range z.owners {
			if slices.ContainsFunc(v, func(z *Zone) bool { o := z.owners[name]; return o != nil && o.near }) {
				continue
			}
			if n, err := dns.PackDomainName(name, buf, 0, nil, false); err == nil {
				out = append(out, bytes.Clone(buf[:n]))
			}
		}
	}
	slices.SortFunc(out, bytes.Compare)
	return slices.CompactFunc(out, bytes.Equal)
}

// tellAfter is how long names wait for more before the stand-in is told of them.
const tellAfter = 500 * time.Millisecond

// tellStandIn tells what stands in for a dead weft the names as they are now.
func (v *visit) tellStandIn() {
	if view := *v.view.Load(); !slices.Equal(view, v.standIn) {
		v.standIn, v.far = view, view.far()
	}
	err := v.box.StandIn(v.far, v.cfg.StandIn)
	if err != nil && !v.unstood {
		v.log.WithError(err).Warn("If weft is killed, names of other hosts' containers will be asked from other nameservers.")
	}
	v.unstood = err != nil
}
