package match

import (
	"fmt"
	"maps"
	"slices"

	"github.com/weft-net/weft/driver/mirror/engine"
	"github.com/weft-net/weft/driver/option"
	"github.com/weft-net/weft/driver/overlay"
)

// # Two networks of one name
//
// Docker tells a driver no name. So when two hosts create one name at the same time,
// both are told success, and the cluster takes one of the two networks. The other
// one goes if the first has all that its user asked for; a subnet that weft chose
// was not asked for. Otherwise it stays, without a name in the cluster, and is a
// conflict until a person decides.

// Unmet gives what was asked of the network mine, which Docker shows as shown, and
// the network first does not have.
func Unmet(mine overlay.Network, shown engine.Network, first overlay.Network) []string {
	var out []string
	differ := func(what string, mine, first any) {
		if mine != first {
			out = append(out, fmt.Sprintf("%s (%v there, %v here)", what, first, mine))
		}
	}
	for _, s := range mine.Subnets {
		if s.Chosen && !slices.Contains(first.Prefixes(), s.Prefix) {
			out = append(out, fmt.Sprintf("subnet (%v there, %v here)", first.Prefixes(), s.Prefix))
		}
	}
	if id := shown.Options[option.ID]; id != "" {
		differ("id", id, first.ID)
	}
	differ("--internal", mine.Internal, first.Internal)
	differ("--ipv6", shown.IPv6, first.IPv6)
	differ("options", fmt.Sprint(wishes(mine)), fmt.Sprint(wishes(first)))
	return out
}

// wishes are the options without those that weft itself adds when it mirrors.
func wishes(n overlay.Network) map[string]string {
	out := maps.Clone(n.Options)
	delete(out, option.VNIList)
	delete(out, option.ID)
	return out
}
