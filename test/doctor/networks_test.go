package doctor

import (
	"fmt"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab/labtest"
)

var networkFaults = []fault{
	{
		check: "networks", how: "another driver's network has the name of the cluster's", says: []string{`"both"`, "bridge", "remove"},
		breaks: func(t *testing.T) func() {
			docker(t, "h1", "network", "create", "both")
			docker(t, "h2", "network", "create", "-d", "weft", "--ipam-driver", "weft", "both")
			return func() {
				docker(t, "h1", "network", "rm", "both")
				removeAgain(t, "both")
			}
		},
	},
}

// removeAgain removes the network from the cluster once h1 has it.
func removeAgain(t *testing.T, name string) {
	t.Helper()
	labtest.Eventually(t, 10*time.Second, "h1 has "+name, func() error {
		if driver := sh(t, "h1", "docker network inspect -f '{{.Driver}}' "+name); driver != "weft" {
			return fmt.Errorf("its driver is %s", driver)
		}
		return nil
	})
	docker(t, "h1", "network", "rm", name)
}
