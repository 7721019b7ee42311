package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weft-net/weft/driver/control"
)

var peersCheck = Check{
	Name: "peers", Code: 30, About: "all hosts use one port and address family, each an address of its own",
	Run: ofState(control.Mismatches),
}

var addressesCheck = Check{
	Name: "addresses", Code: 29, About: "no address of a network is used twice",
	Run: ofState(control.Duplicates),
}

var versionsCheck = Check{
	Name: "versions", Code: 25, About: "all hosts run one version of weft",
	Run: ofState(versions),
}

// versions says which hosts run which version, if they are several.
func versions(s control.State) []Finding {
	hosts := map[string][]string{}
	hosts[s.Snapshot.Self.Version] = append(hosts[s.Snapshot.Self.Version], s.Snapshot.Self.Name)
	for _, h := range s.Hosts {
		if h.Live {
			hosts[h.Version] = append(hosts[h.Version], h.Name)
		}
	}
	if len(hosts) < 2 {
		return nil
	}
	var parts []string
	for _, v := range slices.Sorted(maps.Keys(hosts)) {
		slices.Sort(hosts[v])
		parts = append(parts, fmt.Sprintf("%s on %s", cmp.Or(v, "an unknown one"), strings.Join(hosts[v], ", ")))
	}
	return []Finding{{
		Object:   "the cluster",
		Problem:  "the hosts run different versions of weft: " + strings.Join(parts, "; "),
		Cure:     "update the others too; two versions side by side are meant for the time of an update",
		Severity: control.Risk,
	}}
}
