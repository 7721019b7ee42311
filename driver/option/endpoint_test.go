package option

import "testing"

func TestWhatBecomesOfAnEndpointsOptions(t *testing.T) {
	const docker = "com.docker.network."
	for _, tt := range []struct {
		key   string
		value any
		sets  bool
		want  Verdict
	}{
		// As Docker 20.10 to 29 sends them.
		{docker + "endpoint.exposedports", []any{map[string]any{"Proto": 6.0, "Port": 80.0}}, false, Kept},
		{docker + "endpoint.exposedports", nil, false, Kept},
		{docker + "portmap", []any{}, false, Kept},
		{docker + "endpoint.dnsservers", []any{"192.0.2.53"}, false, Kept},
		{docker + "endpoint.macaddress", "AgAAAAB3", false, Kept},
		{docker + "driver.private.no_proxy_6to4", "1", false, Kept},
		{docker + "of_tomorrow", true, false, Kept},
		// As people give them.
		{sysctls, "net.ipv4.conf.IFNAME.log_martians=1", true, Kept},
		{sysctls, "net.ipv4.conf.IFNAME.log_martians=1", false, Broken},
		{ifname, "lan0", true, Broken},
		{docker + "endpoint.of_tomorrow", "x", true, Broken},
		{"com.docker.endpoint.windowsshim.qospolicies", "x", true, Broken},
		{"my.opt", "", true, Broken},
	} {
		got := Endpoint(tt.key, tt.value, tt.sets)
		if got.Verdict != tt.want || (got.Why == "") != (tt.want == Kept) {
			t.Errorf("%s=%v: %s because %q, want %s", tt.key, tt.value, got.Verdict, got.Why, tt.want)
		}
	}
}
