package driver

import (
	"strings"
	"testing"
)

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
