package driver

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/docker/go-plugins-helpers/network"
	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/driver/overlay"
)

func generic(kv ...string) map[string]any {
	m := map[string]any{}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return map[string]any{genericKey: m, "com.docker.network.enable_ipv6": false}
}

func TestParseOptions(t *testing.T) {
	tests := []struct {
		name    string
		options map[string]any
		want    overlay.Network
	}{
		{"none", nil, overlay.Network{Options: map[string]string{}}},
		{"Docker's own and other people's pass", generic("com.docker.network.bridge.name", "x", "foo", "bar"), overlay.Network{
			Options: map[string]string{"com.docker.network.bridge.name": "x", "foo": "bar"},
		}},
		{"all of weft's", generic("weft.id", "lab", "weft.vni", "77", "weft.mode", "overlay", "weft.port_isolation", "false", "weft.path", "tunnel", mtuKey, "1400"), overlay.Network{
			ID: "lab", VNI: 77, MTU: 1400, Unguarded: true, Tunnelled: true,
			Options: map[string]string{"weft.vni": "77", "weft.mode": "overlay", "weft.port_isolation": "false", "weft.path": "tunnel", mtuKey: "1400"},
		}},
		{"internal, with IPv6", map[string]any{internalKey: true, ipv6Key: true}, overlay.Network{Internal: true, IPv6: true, Options: map[string]string{}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseOptions(tt.options)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseOptionsRefuses(t *testing.T) {
	tests := []struct{ key, value, sentence string }{
		{"weft.vni", "0", `weft.vni="0" is refused: it takes a number from 1 to 16777213`},
		{"weft.vni", "16777214", "a number from 1 to 16777213"},
		{"weft.vni", "16777215", "a number from 1 to 16777213"},
		{"weft.vni", "-1", "a number from 1 to 16777213"},
		{"weft.vni", "x", "a number from 1 to 16777213"},
		{vniListKey, "16777214", "a number from 1 to 16777213"},
		{"weft.mode", "ipvlan", `"overlay", the only mode so far`},
		{"weft.port_isolation", "maybe", "true or false"},
		{"weft.path", "direct", "auto or tunnel"},
		{"weft.id", "a/b", "id or name"},
		{"weft.id", "", "id or name"},
		{"weft.vnii", "5", "option weft.vnii is unknown: weft takes weft.id, weft.mode, weft.path, weft.port_isolation, weft.vni"},
		{mtuKey, "100", "from 1280 to 65535"},
		{mtuKey, "a lot", "from 1280 to 65535"},
	}
	for _, tt := range tests {
		t.Run(tt.key+"="+tt.value, func(t *testing.T) {
			_, err := parseOptions(generic(tt.key, tt.value))
			if err == nil || !strings.Contains(err.Error(), tt.sentence) {
				t.Errorf("got %v, want %q in it", err, tt.sentence)
			}
		})
	}
}

// Whatever JSON comes as options, parsing ends with a record or a refusal.
func FuzzParseOptions(f *testing.F) {
	f.Add(`{"com.docker.network.generic":{"weft.vni":"5"},"com.docker.network.internal":true}`)
	f.Add(`{"com.docker.network.generic":[1]}`)
	f.Add(`{"com.docker.network.generic":{"weft.vni":5}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var options map[string]any
		if json.Unmarshal([]byte(text), &options) != nil {
			return
		}
		n, err := parseOptions(options)
		if err == nil && (n.VNI > maxVNI || n.ID != "" && !overlay.ValidID(n.ID)) {
			t.Errorf("%s gave %+v", text, n)
		}
	})
}

func FuzzParseEndpoint(f *testing.F) {
	f.Add("10.1.0.5/16", "fd00::5/64", "02:42:0a:01:00:05")
	f.Add("10.1.0.5", "", "")
	n := overlay.Network{ID: "n", Subnets: []overlay.Subnet{{Prefix: prefix("10.1.0.0/16")}, {Prefix: prefix("fd00::/64")}}}
	f.Fuzz(func(t *testing.T, v4, v6, mac string) {
		e, err := parseEndpoint(n, &network.CreateEndpointRequest{EndpointID: "e", Interface: &network.EndpointInterface{
			Address: v4, AddressIPv6: v6, MacAddress: mac,
		}})
		if err == nil && (len(e.Addrs) == 0 || e.MAC == overlay.MAC{}) {
			t.Errorf("%q %q %q gave %+v", v4, v6, mac, e)
		}
	})
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
