package machine

import "testing"

func TestUpstream(t *testing.T) {
	for release, want := range map[string]string{
		"6.18.44-cloud-amd64": "6.18.44", "6.1.0-28-amd64": "6.1.0", "6.18": "6.18", "6.18.0-rc3": "6.18.0",
		"5.10.0+": "5.10.0", "4.19.128.1": "4.19.128.1", "": "", "next-20261123": "next-20261123",
	} {
		if got := upstream(release); got != want {
			t.Errorf("%q: got %q, want %q", release, got, want)
		}
	}
}
