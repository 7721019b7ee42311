package doctor

import (
	"context"
	"fmt"

	"github.com/weft-net/weft/driver/control"
)

var daemonCheck = Check{
	Name: "daemon", Code: 10, About: "weft runs on this host",
	Run: func(_ context.Context, h *Host) ([]Finding, error) {
		if h.NoDaemon != nil {
			return []Finding{{
				Object:   "host " + h.Config.Host,
				Problem:  fmt.Sprintf("weft does not run on host %s: %v", h.Config.Host, h.NoDaemon),
				Cure:     "start it, or end it first if it hangs (systemctl restart weft), and read why in its log (journalctl -u weft)",
				Severity: control.Broken,
			}}, nil
		}
		return nil, nil
	},
}
