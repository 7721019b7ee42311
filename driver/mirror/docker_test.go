package mirror

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/network"
	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/driver/overlay"
)

// Compose compares a network's options with those in its file, so a mirrored
// network has those that the user gave and no more that Compose looks at.
func TestMirroredNetworkHasItsOptions(t *testing.T) {
	for _, tc := range []struct {
		name          string
		n             overlay.Network
		options, ipam map[string]string
	}{
		{
			"with weft's id",
			overlay.Network{ID: "0123456789ab", VNI: 70000, Options: map[string]string{"k": "v"}},
			map[string]string{"k": "v", vniOption: "70000"},
			map[string]string{},
		},
		{
			"without options",
			overlay.Network{ID: "0123456789ab", VNI: 70000},
			map[string]string{vniOption: "70000"},
			map[string]string{},
		},
		{
			"with a user's id",
			overlay.Network{ID: "shop", VNI: 70000},
			map[string]string{idOption: "shop"},
			map[string]string{idOption: "shop"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := createOptions("weft", "weft", tc.n)
			if diff := cmp.Diff(tc.options, got.Options); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.ipam, got.IPAM.Options); diff != "" {
				t.Errorf("IPAM's options (-want +got):\n%s", diff)
			}
		})
	}
}

// anyNetwork lets Docker make every network.
type anyNetwork struct{}

func (anyNetwork) createNetwork(string, network.CreateRequest) error { return nil }
func (anyNetwork) deleteNetwork(string)                              {}

// A Docker before 28 would ask for an IPv4 pool, and be refused with a sentence
// about subnets that nobody gave.
func TestOlderDockerIsNotAskedForIPv6Alone(t *testing.T) {
	n := overlay.Network{ID: "0123456789ab", Name: "six", Subnets: []overlay.Subnet{{Prefix: netip.MustParsePrefix("2001:db8:6::/64")}}}
	for version, asked := range map[string]int{"1.41": 0, "1.47": 0, "1.48": 1, MaxAPI: 1} {
		daemon := newDockerd(t, anyNetwork{})
		daemon.version = version
		daemon.start(t)
		d, err := dial(t.Context(), daemon.host())
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.create(t.Context(), "weft", "weft", n)
		d.close()
		if got := daemon.count("POST /networks/create"); got != asked || (err == nil) != (asked == 1) {
			t.Errorf("API %s: asked %d times, %v", version, got, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "Docker 28") || !strings.Contains(err.Error(), version)) {
			t.Errorf("API %s: %v", version, err)
		}
	}
}

// Docker says which versions it speaks to who asks in one of them only.
func TestDockerSaysWhatItSpeaks(t *testing.T) {
	for name, want := range map[string]Engine{
		"old":     {API: "1.23"},
		"usual":   {API: "1.47", MinAPI: "1.24"},
		"too new": {API: "1.99", MinAPI: "1.90"},
	} {
		daemon := newDockerd(t, anyNetwork{})
		daemon.version, daemon.oldest = want.API, want.MinAPI
		daemon.start(t)
		if got, err := LookAtDocker(t.Context(), daemon.host()); got != want || err != nil {
			t.Errorf("%s: %+v, error %v, want %+v", name, got, err, want)
		}
	}
}
