package driver

import (
	"strings"
	"testing"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/driver/overlay"
)

// nothing is a Registry without networks.
type nothing struct{ Registry }

func (nothing) OfDocker(string) (overlay.Network, bool) { return overlay.Network{}, false }

// Docker tells the container's name after the endpoint has joined: until then the log
// has no empty one.
func TestTheLogNamesAContainerOnlyIfItIsKnown(t *testing.T) {
	log, hook := test.NewNullLogger()
	d := &Driver{registry: nothing{}, log: log}
	for _, name := range []string{"", "shop"} {
		d.about("d1", overlay.Endpoint{ID: "e1", Name: name}).Info("Endpoint joined.")
		got, there := hook.LastEntry().Data["container"]
		if there != (name != "") || there && got != name {
			t.Errorf("of container %q the log says %v, %t", name, got, there)
		}
	}
}

// Docker sets sysctls of an interface by itself since version 27, and says nothing
// of them before.
func TestSysctlsAreRefusedWhereDockerWouldForgetThem(t *testing.T) {
	options := map[string]any{"com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=1"}
	for api, kept := range map[string]bool{"1.41": false, "1.45": false, "1.46": true, "1.51": true, "": true} {
		d := &Driver{docker: func() string { return api }}
		err := d.checkEndpoint(options)
		if kept != (err == nil) || !kept && !strings.Contains(err.Error(), "since version 27") {
			t.Errorf("API %q: %v", api, err)
		}
	}
}
