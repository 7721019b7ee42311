package doctor

import (
	"cmp"

	"github.com/weft-net/weft/driver/control"
)

var networksCheck = Check{
	Name: "networks", Code: 34, About: "this host's Docker has the networks that the cluster has, and no others of their names",
	After: []string{dockerCheck.Name},
	Run:   ofState(networkFindings),
}

// networkFindings says which networks are not as the cluster has them.
func networkFindings(s control.State) []Finding {
	var out []Finding
	for _, c := range s.Docker.Conflicts {
		out = append(out, Finding{
			Object: "network " + cmp.Or(c.Network, c.ID), Problem: c.Text, Severity: control.Broken,
			Cure: "do what that says on host " + s.Snapshot.Self.Name + ", or wait if it says that it is tried again; weft looks again as soon as Docker's networks change",
		})
	}
	return out
}
