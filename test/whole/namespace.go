package whole

import (
	"fmt"
	"os"
	"strings"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/overlay"
)

// idleNamespaces says where the kernel has a network's namespace though no
// container of the host is in the network.
func (c Cluster) idleNamespaces(networks []control.Network, docker map[string]map[string]DockerNetwork) []string {
	var out []string
	for host, nets := range docker {
		used := map[string]bool{}
		for _, n := range networks {
			used[overlay.Namespace(n.ID)] = len(nets[n.Name].Containers) > 0
		}
		for _, name := range filesOf(c.Lab.Host(host).Path("/run/netns")) {
			if strings.HasPrefix(name, overlay.NamespacePrefix) && !used[name] {
				out = append(out, fmt.Sprintf("%s has namespace %s without a container in the network", host, name))
			}
		}
	}
	return out
}

// filesOf are the names of what is in a directory, none if there is none.
func filesOf(dir string) []string {
	files, _ := os.ReadDir(dir) // there is none before weft or Docker needs it
	var out []string
	for _, f := range files {
		out = append(out, f.Name())
	}
	return out
}
