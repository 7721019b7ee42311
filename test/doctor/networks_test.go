package doctor

import (
	"context"
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
		driver, err := cluster.Host("h1").Docker(context.WithoutCancel(t.Context()), "network", "inspect", "-f", "{{.Driver}}", name)
		if err == nil && driver != "weft" {
			err = fmt.Errorf("its driver is %s", driver)
		}
		return err
	})
	docker(t, "h1", "network", "rm", name)
}
