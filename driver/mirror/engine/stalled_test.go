package engine

import "testing"

// What Docker says of a container that it could not start, and whether that is
// weft's doing.
func TestBlames(t *testing.T) {
	for _, tt := range []struct {
		driver, text string
		want         bool
	}{
		{"weft", `plugin "weft" not found`, true},
		{"weft", `failed to set up container networking: plugin "weft" not found`, true}, // since Docker 28
		{"weft", `legacy plugin: Post "http://%2Frun%2Fdocker%2Fplugins%2Fweft.sock/Plugin.Activate": dial unix /run/docker/plugins/weft.sock: connect: connection refused`, true},
		{"weft", `IpamDriver.RequestAddress: pool is used up`, true},
		{"weft", `NetworkDriver.Join: anything`, true},
		{"weft:latest", `plugin "weft:latest" not found`, true},
		{"weft", `plugin "other" not found`, false},
		{"weft", `driver failed programming external connectivity on endpoint web: Bind for 0.0.0.0:80 failed: port is already allocated`, false},
		{"weft", ``, false},
	} {
		if got := blames(tt.text, tt.driver); got != tt.want {
			t.Errorf("%s, %q: %t, want %t", tt.driver, tt.text, got, tt.want)
		}
	}
}
