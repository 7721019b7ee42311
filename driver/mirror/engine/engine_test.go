package engine

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/network"
	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/driver/mirror/enginetest"
	"github.com/weft-net/weft/driver/option"
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
			map[string]string{"k": "v", option.VNIList: "70000"},
			map[string]string{},
		},
		{
			"without options",
			overlay.Network{ID: "0123456789ab", VNI: 70000},
			map[string]string{option.VNIList: "70000"},
			map[string]string{},
		},
		{
			"with a user's id",
			overlay.Network{ID: "shop", VNI: 70000},
			map[string]string{option.ID: "shop"},
			map[string]string{option.ID: "shop"},
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

// What Docker shows of a mirrored network makes the request that it was made by.
func TestWhatDockerShowsIsWhatItWasAskedFor(t *testing.T) {
	n := overlay.Network{ID: "0123456789ab", Name: "a"}
	n.VNI, n.IPv6, n.Internal = 70000, true, true
	n.Subnets = []overlay.Subnet{}
	for _, c := range []network.IPAMConfig{
		{Subnet: "10.7.0.0/16", IPRange: "10.7.4.0/24", Gateway: "10.7.0.1", AuxAddress: map[string]string{"r": "10.7.4.9"}},
		{Subnet: "fd00:7::/64", Gateway: "fd00:7::1/64"},
	} {
		s, ok := parseIPAM(c)
		if !ok {
			t.Fatalf("%+v is not understood", c)
		}
		n.Subnets = append(n.Subnets, s)
	}
	asked := createOptions("weft", "weft", n)
	ipv4 := asked.IPAM.Config[0]
	shown := parseNetwork(network.Summary{
		Name: "a", EnableIPv6: *asked.EnableIPv6, Internal: asked.Internal,
		IPAM: network.IPAM{Config: []network.IPAMConfig{asked.IPAM.Config[1], ipv4}}, Options: asked.Options,
	})
	if diff := cmp.Diff(n.Subnets, shown.Subnets, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" || !shown.IPv6 || !shown.Internal {
		t.Errorf("shown is %+v (-asked +shown):\n%s", shown, diff)
	}
}

// anyNetwork lets Docker make every network.
type anyNetwork struct{}

func (anyNetwork) CreateNetwork(string, network.CreateRequest) error { return nil }
func (anyNetwork) DeleteNetwork(string)                              {}

// A Docker before 28 would ask for an IPv4 pool, and be refused with a sentence
// about subnets that nobody gave.
func TestOlderDockerIsNotAskedForIPv6Alone(t *testing.T) {
	n := overlay.Network{ID: "0123456789ab", Name: "six", Subnets: []overlay.Subnet{{Prefix: netip.MustParsePrefix("2001:db8:6::/64")}}}
	for version, asked := range map[string]int{"1.41": 0, "1.47": 0, "1.48": 1, MaxAPI: 1} {
		daemon := enginetest.New(t, anyNetwork{})
		daemon.Version = version
		daemon.Start(t)
		d, err := Dial(t.Context(), daemon.Host())
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Create(t.Context(), "weft", "weft", n)
		d.Close()
		if got := daemon.Count("POST /networks/create"); got != asked || (err == nil) != (asked == 1) {
			t.Errorf("API %s: asked %d times, %v", version, got, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "Docker 28") || !strings.Contains(err.Error(), version)) {
			t.Errorf("API %s: %v", version, err)
		}
	}
}

// Docker says which versions it speaks to who asks in one of them only.
func TestDockerSaysWhatItSpeaks(t *testing.T) {
	for name, want := range map[string]Versions{
		"old":     {Newest: "1.23"},
		"usual":   {Newest: "1.47", Oldest: "1.24"},
		"too new": {Newest: "1.99", Oldest: "1.90"},
	} {
		daemon := enginetest.New(t, anyNetwork{})
		daemon.Version, daemon.Oldest = want.Newest, want.Oldest
		daemon.Start(t)
		if got, err := AskVersions(t.Context(), daemon.Host()); got != want || err != nil {
			t.Errorf("%s: %+v, error %v, want %+v", name, got, err, want)
		}
	}
}

// What Docker sends of networks and containers is told, in its order.
func TestEventsAreTold(t *testing.T) {
	daemon := enginetest.New(t, anyNetwork{})
	daemon.Start(t)
	d, err := Dial(t.Context(), daemon.Host())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sub, err := d.Subscribe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range []events.Message{
		{Type: "network", Action: "connect", Actor: events.Actor{ID: "n1"}},
		{Type: "container", Action: "create", Actor: events.Actor{ID: "c1", Attributes: map[string]string{"name": "web"}}},
		{Type: "container", Action: "rename", Actor: events.Actor{ID: "c1", Attributes: map[string]string{"name": "shop", "oldName": "/web"}}},
		{Type: "container", Action: "start", Actor: events.Actor{ID: "c1"}},
		{Type: "container", Action: "destroy", Actor: events.Actor{ID: "c1"}},
	} {
		daemon.Send(m)
		want := []Event{
			{Network: true, Action: Connect, ID: "n1"},
			{Action: Create, ID: "c1", Name: "web"},
			{Action: Rename, ID: "c1", Name: "shop", OldName: "web"},
			{Action: Start, ID: "c1"},
			{Action: Destroy, ID: "c1"},
		}[i]
		if got, err := sub.Next(ctx); got != want || err != nil {
			t.Errorf("Docker sent %+v, which is told as %+v, error %v; want %+v", m, got, err, want)
		}
	}
	daemon.Stop()
	if e, err := sub.Next(ctx); err == nil || !strings.Contains(err.Error(), "the connection was closed") {
		t.Errorf("after Docker's end: %+v, error %v", e, err)
	}
}
