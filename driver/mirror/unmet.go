package mirror

import (
	"fmt"
	"maps"
	"slices"

	"github.com/weft-net/weft/driver/overlay"
)

// # Two networks of one name
//
// Docker tells a driver no name, so two hosts that create one name at the same time
// are both told success, and the cluster takes one of the two. The other goes if the
// first is as good: it has all that its user asked for, and a subnet that weft chose
// is no wish of anybody's. If not, it stays, without a name in the cluster, and
// is a conflict until a person decides.

// unmet gives what was asked of the network mine, which Docker has as shown, and
// first does not have.
func unmet(mine overlay.Network, shown dockerNetwork, first overlay.Network) []string {
	var out []string
	differ := func(what string, mine, first any) {
		if mine != first {
			out = append(out, fmt.Sprintf("%s (%v there, %v here)", what, first, mine))
		}
	}
	for _, s := range mine.Subnets {
		if s.Chosen && !slices.Contains(prefixes(first), s.Prefix) {
			out = append(out, fmt.Sprintf("subnet (%v there, %v here)", prefixes(first), s.Prefix))
		}
	}
	if id := shown.Options[idOption]; id != "" {
		differ("id", id, first.ID)
	}
	differ("--internal", mine.Internal, first.Internal)
	differ("--ipv6", shown.IPv6, first.IPv6)
	differ("options", fmt.Sprint(wishes(mine)), fmt.Sprint(wishes(first)))
	return out
}

// wishes are the options without those that weft itself adds to a mirrored network.
func wishes(n overlay.Network) map[string]string {
	out := maps.Clone(n.Options)
	delete(out, vniOption)
	delete(out, idOption)
	return out
}
