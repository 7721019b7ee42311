package doctor

import (
	"fmt"

	"github.com/weft-net/weft/driver/control"
)

// directFindings says between which hosts packets could go without a tunnel and do not.
func directFindings(host string, s control.State) []Finding {
	var out []Finding
	for _, h := range s.Direct.Hosts {
		if !h.Unanswered {
			continue
		}
		out = append(out, Finding{
			Object:   "host " + h.Host,
			Problem:  fmt.Sprintf("packets of %s to host %s go through the tunnel, since probes with containers' addresses and without a tunnel do not come back: the two are on different segments, or something between them drops what has a source that is no host's (a switch, a cloud's check of sources)", host, h.Host),
			Cure:     "nothing has to be done; if both are on one segment, let packets with containers' addresses pass there, and weft notices within five minutes",
			Severity: control.Note,
		})
	}
	if f := s.Fast; f.Open && !s.Direct.Takes && s.Direct.Why != "" && len(s.Direct.Hosts) > 0 {
		out = append(out, Finding{
			Object:   host,
			Problem:  fmt.Sprintf("all packets between containers of %s and of other hosts go through tunnels: %s", host, s.Direct.Why),
			Cure:     "nothing has to be done; weft looks again every few seconds",
			Severity: control.Note,
		})
	}
	return out
}
